"""Random shifts of images (DrQ, Kostrikov et al. 2021, section 3.1)."""

import torch
from torch import Tensor

from agents.nn import across


def random_shift(image: Tensor, pad: int) -> Tensor:
    """Pad by ``pad`` pixels on every side, repeating the border, and crop back to the size it had at a random place.

    image uint8 (..., C, S, S) -> uint8, same shape, channels last in memory. Every image gets an offset of its own,
    uniform over the (2 pad + 1)^2 there are, and its channels share it: a stack of frames moves as one.
    """
    *lead, rows = image.shape[:-3]
    offsets = across.own_rows(lambda n: torch.randint(2 * pad + 1, (2, *lead, n), device=image.device), rows, dim=-1)
    down, right = offsets.unbind()
    return shift(image, down, right, pad)


def shift(image: Tensor, down: Tensor, right: Tensor, pad: int) -> Tensor:
    """The crop whose corner lies at row ``down`` and column ``right`` of the padded image; see :func:`random_shift`.

    ``down`` and ``right`` int64 (...), from 0 to 2 pad; ``pad`` for both is the image itself.

    kornia's ``RandomCrop`` of the padded image cuts the same pixels (a test holds the two together). It draws on the
    CPU and slices image by image, or resamples; a gather of bytes, its indices held inside the image in place of the
    padding, is exact by construction, the same few kernels for any batch, and draws where the images are.
    """
    size = image.shape[-1]
    place = torch.arange(size, device=image.device)
    rows = (place + down[..., None] - pad).clamp(0, size - 1)
    columns = (place + right[..., None] - pad).clamp(0, size - 1)
    index = (rows[..., :, None] * size + columns[..., None, :]).flatten(-2)
    pixels = image.flatten(-2)
    moved = pixels.gather(-1, index[..., None, :].expand(pixels.shape)).unflatten(-1, (size, size))
    # as the convolutions want it, while it is a quarter of the floats
    return moved.movedim(-3, -1).contiguous().movedim(-1, -3)
