"""Stacks of frames out of a whole episode."""

import torch
from torch import Tensor


def stacks_at(images: Tensor, last: Tensor, stack: int) -> Tensor:
    """The stacks that end at the places ``last`` (N,) of an episode's images (T, ...): (N, stack, ...), oldest first.

    As while acting, the first image stands for those before it.
    """
    back = torch.arange(stack - 1, -1, -1)
    return images[(last[:, None] - back).clamp(min=0)]
