"""Random shifts: exact crops, every offset, one per stack."""

import math

import pytest
import torch
from kornia.augmentation import RandomCrop
from torch.nn import functional as F

from agents.drq.augmentation import random_shift, shift


def image(*lead, channels=9, size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*lead, channels, size, size), generator=generator, dtype=torch.uint8)


def crop(one, down, right, pad):
    """Pixel by pixel: the padded image repeats the border."""
    size = one.shape[-1]
    rows = [min(max(i + down - pad, 0), size - 1) for i in range(size)]
    columns = [min(max(j + right - pad, 0), size - 1) for j in range(size)]
    return torch.stack([torch.stack([one[:, i, j] for j in columns], -1) for i in rows], -2)


def offset_of(one, shifted, pad):
    """The offsets whose crop of the padded image (by torch's own padding) is exactly ``shifted``."""
    size = one.shape[-1]
    padded = F.pad(one[None].float(), (pad,) * 4, mode="replicate")[0]
    places = [(i, j) for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    return [(i, j) for i, j in places if torch.equal(padded[:, i : i + size, j : j + size], shifted.float())]


def test_all_81_offsets_are_exact_crops():
    frames = image(81)
    down, right = torch.arange(81) // 9, torch.arange(81) % 9
    shifted = shift(frames, down, right, 4)
    assert shifted.dtype == torch.uint8 and shifted.shape == frames.shape
    assert shifted.is_contiguous(memory_format=torch.channels_last)
    for k in range(81):
        assert offset_of(frames[k], shifted[k], 4) == [(k // 9, k % 9)]
        assert torch.equal(shifted[k], crop(frames[k], k // 9, k % 9, 4))
    assert torch.equal(shifted[40], frames[40])  # (4, 4) is no shift


def test_every_offset_is_drawn_equally_often():
    """Chi-squared with 80 degrees of freedom, at 0.1 %."""
    rows = 81 * 60
    frames = image(1).expand(rows, -1, -1, -1)
    shifted = random_shift(frames, 4)
    by_crop = {
        shift(frames[:1], torch.tensor([k // 9]), torch.tensor([k % 9]), 4).numpy().tobytes(): k for k in range(81)
    }
    counts = torch.zeros(81)
    for one in shifted:
        counts[by_crop[one[None].numpy().tobytes()]] += 1
    assert (counts > 0).all() and ((counts - 60).square() / 60).sum() < 124.8


def test_copies_shift_by_themselves_and_channels_together():
    frames = image(64)
    shifted = random_shift(frames.expand(2, *frames.shape), 2)
    offsets = [[offset_of(frames[b], shifted[k, b], 2) for b in range(64)] for k in range(2)]
    assert all(len(found) == 1 for row in offsets for found in row)  # of all nine channels at once
    same = sum(a == b for a, b in zip(*offsets, strict=True))
    assert same < 64 / 25 + 5 * math.sqrt(64 / 25)
    down = [found[0][0] for found in offsets[0]]
    right = [found[0][1] for found in offsets[0]]
    assert down != right


@pytest.mark.parametrize("pad, size", [(4, 84), (4, 64), (1, 15)])
def test_kornia_cuts_the_same_pixels(pad, size):
    frames = image(16, size=size)
    kornia = RandomCrop((size, size), cropping_mode="slice")
    want = kornia(F.pad(frames.float(), (pad,) * 4, mode="replicate"))
    corner = kornia._params["src"][:, 0].long()  # x, y
    assert torch.equal(shift(frames, corner[:, 1], corner[:, 0], pad).float(), want)
    assert corner.unique(dim=0).shape[0] > 3


def test_no_padding_is_no_shift():
    frames = image(2, 3)
    assert torch.equal(random_shift(frames, 0), frames)
