"""The state of a recurrent state-space model."""

from typing import NamedTuple

import torch
from torch import Tensor


class Latent(NamedTuple):
    """A model state. Leading dimensions are shared: (...,), (B, T) or (N,)."""

    deter: Tensor
    """Deterministic GRU state h, (..., deter)."""
    stoch: Tensor
    """Straight-through one-hot sample s, (..., stoch, discrete)."""
    logits: Tensor
    """Unnormalised log-probabilities ``stoch`` was drawn from, (..., stoch, discrete)."""

    @property
    def feat(self) -> Tensor:
        """[flat(s), h], (..., stoch * discrete + deter): what every head, actor and critic reads."""
        return torch.cat([self.stoch.flatten(-2), self.deter], -1)

    def detach(self) -> "Latent":
        return Latent(*(x.detach() for x in self))

    def flatten(self) -> "Latent":
        """(B, T, ...) -> (B * T, ...)."""
        return Latent(*(x.flatten(0, 1) for x in self))
