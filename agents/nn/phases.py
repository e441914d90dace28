"""Images as four phases: one of half the side for each parity of row and column, stacked as channels.

A convolution of stride 2 with an even kernel is a plain one on phases, a transposed one of stride 2 makes phases (Shi
et al. 2016, section 2.2). With the few channels of an image this is faster, and copies from one layout to the other are
spared where an image goes into an encoder and is what a decoder is to make.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 4
"""Images of this many channels at most are handled as phases."""


def to_phases(image: Tensor) -> Tensor:
    """(..., C, S, S) -> (..., 4 C, S / 2, S / 2), channels last in memory: channel (2 i + j) C + c holds the rows of
    parity i and the columns of parity j of channel c.
    """
    x = image.reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1)
    parts = torch.stack([x[:, i::2, j::2] for i in range(2) for j in range(2)], 3)
    phases = parts.flatten(3).permute(0, 3, 1, 2)
    return phases.reshape(*image.shape[:-3], *phases.shape[1:])


def from_phases(phases: Tensor) -> Tensor:
    """(N, 4 C, S, S) -> (N, C, 2 S, 2 S), channels last in memory: the image that :func:`to_phases` took apart."""
    side = phases.shape[-1]
    x = phases.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
    return x.transpose(2, 3).reshape(-1, 2 * side, 2 * side, x.shape[-1]).permute(0, 3, 1, 2)


def reads_phases(channels: int, size: int, kernel: int) -> bool:
    """Whether a convolution of stride 2 over images of ``channels`` and ``size`` is done on phases."""
    return channels <= CHANNELS and size % 2 == kernel % 2 == 0


def makes_phases(channels: int, kernel: int) -> bool:
    """Whether a transposed convolution of stride 2 to ``channels`` is done as one that makes phases."""
    return channels <= CHANNELS and kernel % 2 == 0


def conv_of_phases(layer: nn.Conv2d, phases: Tensor) -> Tensor:
    """``layer`` of the image whose phases (N, 4 C, S, S) are given; its kernel is even, its stride 2."""
    outputs, inputs, kernel, _ = layer.weight.shape
    split = layer.weight.reshape(outputs, inputs, kernel // 2, 2, kernel // 2, 2)
    weight = split.permute(0, 3, 5, 1, 2, 4).reshape(outputs, 4 * inputs, kernel // 2, kernel // 2)
    return F.conv2d(phases, weight, layer.bias)


def phases_of_transposed(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The phases of ``layer(x)``: (N, C, S, S) -> (N, 4 O, S + K / 2 - 1, S + K / 2 - 1) for its even kernel K.

    The bias is added afterwards: inductor of torch 2.11 cannot lower a convolution whose bias is computed from another.
    """
    assert layer.bias is not None
    inputs, outputs, kernel, _ = layer.weight.shape
    half = kernel // 2
    split = layer.weight.reshape(inputs, outputs, half, 2, half, 2).flip(2, 4)
    weight = split.permute(3, 5, 1, 0, 2, 4).reshape(4 * outputs, inputs, half, half)
    return F.conv2d(x, weight, padding=half - 1).add_(layer.bias.repeat(4)[:, None, None])
