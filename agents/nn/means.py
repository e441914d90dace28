"""Means over the entries that count; which do is decided on the device."""

import torch
from torch import Tensor

from agents.nn import across


def masked_mean(value: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``value`` over the entries where ``valid`` (same shape) holds, 0 if none does.

    Entries outside may be NaN.
    """
    return across.ratio(torch.where(valid, value, 0.0).sum(), valid.sum(), least=1)


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """sum weight * value / sum weight, 0 if nothing has weight; ``weight`` (bool or numbers >= 0) as ``value``."""
    weight = weight.to(value.dtype)
    return across.ratio((weight * value).sum(), weight.sum(), least=torch.finfo(value.dtype).tiny)
