"""Observations on one scale, by what was seen so far."""

from torch import Tensor

from agents.nn.moments import RunningMoments

STD_FLOOR = 1e-2
"""A column that hardly moves is not blown up."""


class Normalizer(RunningMoments):
    """(x - mean) / max(std, STD_FLOOR) per column, (..., D) -> (..., D); the identity before the first update.

    The moments belong to a skill and take in each rollout of it once, as a whole, *after* the update that learned from
    it. From a rollout's first action to the end of its update they stand still, so the ratio pi(a | s) / pi_old(a | s)
    is 1 when the first policy step begins, and the values that advantages are made of are those of one function. The
    price: the first rollout is seen as it is.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.var.sqrt().clamp(min=STD_FLOOR)
