"""The networks of a skill: a Gaussian actor and a critic on normalised observations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.nn.distributions import LOG_SQRT_2PI
from agents.nn.tanh_layer import TanhMLP
from agents.rest.normalizer import Normalizer
from agents.rest.settings import PPOSettings


class Actor(nn.Module):
    """pi(a | s) = N(mean(s), sigma^2): a Tanh MLP and a standard deviation per action that does not depend on s.

    The first ``exclude`` columns of an observation are not seen. Actions are not squashed: what an actuator cannot do
    is the environment's to cut off.
    """

    def __init__(
        self, obs_dim: int, action_dim: int, hidden: Sequence[int], *, exclude: int, log_std_init: float
    ) -> None:
        super().__init__()
        self.exclude = exclude
        self.net = TanhMLP(obs_dim - exclude, hidden, action_dim)
        self.log_std = nn.Parameter(torch.full((action_dim,), float(log_std_init)))

    def forward(self, obs: Tensor) -> Tensor:
        """Normalised observations (..., D) -> means (..., A)."""
        mean: Tensor = self.net(obs[..., self.exclude :])
        return mean

    def sample(self, mean: Tensor) -> Tensor:
        """One action for each mean, (..., A) -> (..., A)."""
        return mean + self.log_std.exp() * torch.randn_like(mean)

    def log_prob(self, mean: Tensor, action: Tensor) -> Tensor:
        """log N(a; mean, sigma^2), summed over actions: (..., A), (..., A) -> (...), in nats."""
        scaled = (action - mean) * (-self.log_std).exp()
        return (-0.5 * scaled.square() - self.log_std - LOG_SQRT_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """1/2 + log sqrt(2 pi) + log sigma, the mean over action dimensions, in nats; the same in every state."""
        return 0.5 + LOG_SQRT_2PI + self.log_std.mean()


class Critic(nn.Module):
    """V(s): a Tanh MLP that does not see the first ``exclude`` columns either."""

    def __init__(self, obs_dim: int, hidden: Sequence[int], *, exclude: int) -> None:
        super().__init__()
        self.exclude = exclude
        self.net = TanhMLP(obs_dim - exclude, hidden, 1)

    def forward(self, obs: Tensor) -> Tensor:
        """Normalised observations (..., D) -> values (...)."""
        value: Tensor = self.net(obs[..., self.exclude :])
        return value[..., 0]


class Skill(nn.Module):
    """What belongs to one skill and to no other: policy, critic, and the normaliser that both read through."""

    def __init__(self, obs_dim: int, action_dim: int, settings: PPOSettings, *, exclude: int) -> None:
        super().__init__()
        hidden = settings.hid_sizes
        self.policy = Actor(obs_dim, action_dim, hidden, exclude=exclude, log_std_init=settings.log_std_init)
        self.critic = Critic(obs_dim, hidden, exclude=exclude)
        self.normalizer = Normalizer(obs_dim)
