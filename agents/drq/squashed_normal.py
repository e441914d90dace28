"""The policy of soft actor-critic: a Normal whose samples are squashed by tanh (Haarnoja et al. 2018, appendix C)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.nn import across
from agents.nn.distributions import LOG_SQRT_2PI


class SquashedNormal:
    """a = tanh(x), x ~ N(mean, exp(log_std)^2); parameters (..., A), actions in [-1, 1]."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean, self.log_std = mean, log_std

    @property
    def mode(self) -> Tensor:
        """tanh(mean), (..., A): what evaluation executes."""
        return torch.tanh(self.mean)

    def rsample(self) -> tuple[Tensor, Tensor]:
        """An action (..., A), reparameterised, and log pi of it (...).

        log pi = sum_i [log N(x_i) - log(1 - tanh(x_i)^2)], the latter written as 2 (log 2 - x - softplus(-2 x)),
        which does not overflow where tanh is 1 to the last bit.
        """
        noise = across.randn_like(self.mean, -2)
        raw = self.mean + self.log_std.exp() * noise
        normal = -0.5 * noise.square() - self.log_std - LOG_SQRT_2PI
        squash = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        return torch.tanh(raw), (normal - squash).sum(-1)
