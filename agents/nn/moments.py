"""Running mean and variance of a stream of batches."""

import torch
from torch import Tensor, nn

from agents.nn import across


class RunningMoments(nn.Module):
    """Mean and variance over everything seen, per entry of ``shape``, merged batch by batch (Chan et al. 1979).

    Starts at mean 0, variance 1 and a count of 1e-4, so that the first batch outweighs the start. Batch variances
    are unbiased, as in the published code of URLB. The state is in buffers.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.var: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("var", torch.ones(shape))
        self.register_buffer("count", torch.tensor(1e-4))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Take in ``values`` (n, *shape), n > 1."""
        values = values.float()
        var, mean = across.moments(values)
        rows = len(values) * across.size()
        total = self.count + rows
        delta = mean - self.mean
        spread = self.var * self.count + var * rows + delta.square() * self.count * rows / total
        self.mean += delta * rows / total
        self.var.copy_(spread / total)
        self.count.copy_(total)
