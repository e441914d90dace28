"""Stacks of frames: while acting, and out of a whole episode."""

from typing import NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """What DrQ remembers while it acts."""

    frames: Tensor
    """The last images, uint8 (n, stack, C, S, S), oldest first."""


def stacks_at(images: Tensor, last: Tensor, stack: int) -> Tensor:
    """The stacks that end at the places ``last`` (N,) of an episode's images (T, ...): (N, stack, ...), oldest first.

    As while acting, the first image stands for those before it.
    """
    back = torch.arange(stack - 1, -1, -1)
    return images[(last[:, None] - back).clamp(min=0)]
