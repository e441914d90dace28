"""Lambda-returns and the reward normaliser of the imagination actor-critic."""

from typing import Any

import torch
from torch import Tensor, nn

from agents.exploration.intrinsic_reward import Scored
from agents.nn import across
from agents.nn.means import masked_mean


def lambda_return(reward: Tensor, value: Tensor, discount: float, lam: float) -> Tensor:
    """G_t = r_t + d [(1 - lam) v_{t+1} + lam G_{t+1}], bootstrapped with G_H = v_H (Hafner et al. 2021,
    DreamerV2, equation 4).

    ``reward`` and ``value`` are (H + 1, N), time-major; r_H is not used. Returns (H, N).
    """
    return _LambdaReturn.apply(reward, value, discount, lam)  # type: ignore[no-any-return]


class _LambdaReturn(torch.autograd.Function):
    """One operation a step, forwards and back."""

    @staticmethod
    def forward(ctx: Any, reward: Tensor, value: Tensor, discount: float, lam: float) -> Tensor:
        ctx.discount, ctx.lam = discount, lam
        inputs = torch.add(reward[:-1], value[1:], alpha=discount * (1 - lam))
        out = [value[-1]]
        for now in inputs.flip(0).unbind():
            out.append(torch.add(now, out[-1], alpha=discount * lam))
        return torch.stack(out[:0:-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        reached = list(grad.unbind())
        for t in range(1, len(reached)):
            reached[t] = torch.add(reached[t], reached[t - 1], alpha=ctx.discount * ctx.lam)
        nothing = torch.zeros_like(reached[0])
        of_reward = torch.stack([*reached, nothing])
        of_value = ctx.discount * (1 - ctx.lam) * torch.stack([nothing, *reached])
        of_value[-1].add_(reached[-1], alpha=ctx.discount * ctx.lam)
        return of_reward, of_value, None, None


def returns_valid(valid: Tensor) -> Tensor:
    """Which returns only contain valid rewards: (H + 1, N) -> (H, N), true where r_t .. r_{H-1} all are valid."""
    return valid[:-1].flip(0).to(torch.uint8).cumprod(0).flip(0).bool()


class StreamNorm(nn.Module):
    """Divides rewards by a running mean of their magnitude: mag <- m mag + (1 - m) mean|r|, r <- scale r / (mag + eps).

    No centring; ``mag`` (a buffer, 1 at the start) takes no gradient; ``momentum=1`` switches it off.
    """

    def __init__(self, momentum: float = 1.0, scale: float = 1.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.momentum, self.scale, self.eps = momentum, scale, eps
        self.mag: Tensor
        self.register_buffer("mag", torch.ones(()))

    def forward(self, reward: Scored) -> Tensor:
        """Update ``mag`` with the valid entries (none: no update); returns the normalised values, same shape."""
        value, valid, _ = reward.masked()
        with torch.no_grad():
            weight = (1 - self.momentum) * across.any_of(valid.any()).float()
            self.mag.lerp_(across.whole(masked_mean(value.abs(), valid)), weight)
        return self.scale * value / (self.mag.clone() + self.eps)
