"""The networks of a behaviour: actor and critics (DreamerV2, Hafner et al. 2021; APS, Liu & Abbeel 2021)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from agents.exploration.intrinsic_reward import CriticHead
from agents.nn.distributions import POLICIES, Policy, unit_normal_log_prob
from agents.nn.networks import MLP
from agents.nn.repeated import Repeated, repeatable


class Actor(nn.Module):
    """MLP on [feat, skill] -> a policy over [-1, 1]^A with mean tanh(m) and std 2 sigmoid(q / 2) + min_std."""

    def __init__(
        self, inputs: int, action_dim: int, *, layers: int = 4, units: int = 400, min_std: float = 0.1, dist: str
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.net = MLP(inputs, 2 * action_dim, layers, units)
        self.min_std = min_std
        self.slope: Tensor
        self.register_buffer("slope", torch.tensor([1.0] * action_dim + [0.25] * action_dim), persistent=False)
        self.policy = POLICIES[dist]

    def forward(self, feat: Tensor, skill: Tensor) -> Policy:
        """feat (..., F), skill (..., n) -> policy with parameters (..., A)."""
        return self._policy(self.net, feat, skill)

    def repeated(self) -> "Acts":
        """The same for many steps with the same weights: feat (N, F), detached, and skill (N, n) as in ``forward``."""
        net = Repeated(self.net) if repeatable(self.net) else self.net
        return lambda feat, skill: self._policy(net, feat, skill)

    def _policy(self, net: Callable[[Tensor], Tensor], feat: Tensor, skill: Tensor) -> Policy:
        inputs = torch.cat([feat, skill], -1) if skill.shape[-1] else feat
        # 2 sigmoid(q / 2) = 1 + tanh(q / 4)
        mean, above_one = torch.tanh(net(inputs).float() * self.slope).chunk(2, -1)
        return self.policy(mean, above_one + (1 + self.min_std))


Acts = Callable[[Tensor, Tensor], Policy]
"""feat (N, F), skill (N, n) -> policy with parameters (N, A)."""


class Critic(nn.Module):
    """MLP on [feat, skill] -> the mean of a unit-variance Normal over the return, (..., F) -> (...).

    Built with ``skill_dim=0`` it ignores whatever skill it is given.
    """

    def __init__(self, feat_dim: int, skill_dim: int, *, outputs: int = 1, layers: int = 4, units: int = 400) -> None:
        super().__init__()
        self.reads_skill = skill_dim > 0
        self.net = MLP(feat_dim + skill_dim, outputs, layers, units)

    def forward(self, feat: Tensor, skill: Tensor) -> Tensor:
        """feat (..., F), skill (..., n) -> values (...)."""
        inputs = torch.cat([feat, skill], -1) if self.reads_skill else feat
        return self.net(inputs).float()[..., 0]

    def loss(self, value: Tensor, target: Tensor) -> Tensor:
        """-log N(target; value, 1), elementwise; its floor is 0.919."""
        return -unit_normal_log_prob(target, value, 0)


class SuccessorCritic(Critic):
    """psi(f, z) in R^n with value psi . z and squared error without a half (APS, Liu & Abbeel 2021).

    Only the product is regressed, so psi need not be a vector of successor features.
    """

    def __init__(self, feat_dim: int, skill_dim: int, **sizes: int) -> None:
        assert skill_dim > 0, "a successor critic needs skills"
        super().__init__(feat_dim, skill_dim, outputs=skill_dim, **sizes)

    def forward(self, feat: Tensor, skill: Tensor) -> Tensor:
        return (self.net(torch.cat([feat, skill], -1)).float() * skill).sum(-1)

    def loss(self, value: Tensor, target: Tensor) -> Tensor:
        """(value - target)^2, elementwise."""
        return (value - target).square()


CRITICS: dict[CriticHead, type[Critic]] = {"scalar": Critic, "successor": SuccessorCritic}
