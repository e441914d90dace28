"""Skill spaces: what a skill-conditioned agent draws its skills from."""

from collections.abc import Callable
from typing import Annotated, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn.distributions import Policy
from utils.rules import MOST_UNITS, whole

SkillCount = Annotated[int, whole(2, MOST_UNITS)]
"""How many skills there are, or dimensions of a skill."""


class SkillSpace(Protocol):
    """``dim`` is the size of the vector that networks are conditioned on; 0 means no skills."""

    dim: int

    def sample(self, count: int, device: torch.device) -> Tensor: ...

    def candidates(self, device: torch.device) -> Tensor:
        """Skills that stand for the whole space, (count, dim): what videos show and a choice is made from."""
        ...

    def name(self, skill: Tensor) -> str:
        """A short label of a skill (dim,), for people."""
        ...


class NoSkills:
    """The agent has one behaviour; its skill vector is empty."""

    dim = 0

    def sample(self, count: int, device: torch.device) -> Tensor:
        """(count, 0)."""
        return torch.zeros(count, 0, device=device)

    def candidates(self, device: torch.device) -> Tensor:
        """The empty skill, (1, 0)."""
        return torch.zeros(1, 0, device=device)

    def name(self, skill: Tensor) -> str:
        return "no skill"


class OneHot:
    """n discrete skills, drawn uniformly."""

    def __init__(self, n: int) -> None:
        self.dim = n

    def sample(self, count: int, device: torch.device) -> Tensor:
        """One-hot vectors, (count, n)."""
        return torch.eye(self.dim, device=device)[torch.randint(self.dim, (count,), device=device)]

    def candidates(self, device: torch.device) -> Tensor:
        """All of them, (n, n)."""
        return torch.eye(self.dim, device=device)

    def name(self, skill: Tensor) -> str:
        """Its index, from 0."""
        return f"skill {int(skill.argmax())}"


class UnitSphere:
    """Directions in R^d: a Gaussian draw, normalised."""

    def __init__(self, d: int) -> None:
        self.dim = d

    def sample(self, count: int, device: torch.device) -> Tensor:
        """Unit vectors, (count, d)."""
        return F.normalize(torch.randn(count, self.dim, device=device), dim=-1)

    def candidates(self, device: torch.device) -> Tensor:
        """Both directions of every axis, (2 d, d)."""
        axes = torch.eye(self.dim, device=device)
        return torch.cat([axes, -axes])

    def name(self, skill: Tensor) -> str:
        """Its coordinates."""
        return "skill (" + ", ".join(f"{x:.2f}" for x in skill.tolist()) + ")"


class SkillSchedule(nn.Module):
    """Which skill each environment follows: a new one every ``period`` steps, until one is chosen for good.

    ``period=0`` keeps a skill for the whole episode.
    """

    def __init__(self, space: SkillSpace, period: int) -> None:
        super().__init__()
        self.space, self.period = space, period
        self.settled = False
        self.chosen: Tensor
        self.register_buffer("chosen", torch.zeros(space.dim))  # no skill is the zero vector
        self.register_load_state_dict_post_hook(SkillSchedule._loaded)

    def settle(self, skill: Tensor) -> None:
        """Follow ``skill`` (dim,) from now on."""
        self.chosen.copy_(skill)
        self.settled = True

    def draw(self, count: int) -> Tensor:
        """Skills for ``count`` episodes or imagined rollouts, (count, dim): the chosen one once there is one."""
        if self.settled:
            return self.chosen.repeat(count, 1)
        return self.space.sample(count, self.chosen.device)

    def renew(self, skill: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """Skills (n, dim) that have been followed for ``age`` (n,) steps -> skills for the next step and their age."""
        if self.settled:
            return self.draw(len(age)), age
        if not self.period or not self.space.dim:
            return skill, age
        due = age >= self.period
        return torch.where(due[:, None], self.draw(len(age)), skill), torch.where(due, 0, age)

    def _loaded(self, incompatible: object) -> None:
        self.settled = bool(self.chosen.any())


def likelihood_values(
    actor: Callable[[Tensor, Tensor], Policy],
    candidates: Tensor,
    feat: Tensor,
    action: Tensor,
    is_first: Tensor,
    reward: Tensor,
) -> Tensor:
    """value(z) = mean_i R_i sum_t log pi(a_{t+1} | s_t, z), R_i the sum of rewards of sequence i (SD3, Xiao et al.
    2025).

    feat (B, T, F), action (B, T, A), is_first and reward (B, T), candidates (K, n) -> (K,). ``action[:, t]`` led to
    record t, so the action taken at s_t is that of record t + 1.
    """
    taken = ~is_first[:, 1:]
    values = []
    for skill in candidates:
        policy = actor(feat[:, :-1], skill.expand(*feat[:, :-1].shape[:-1], -1))
        log_prob = torch.where(taken, policy.log_prob(action[:, 1:]), 0.0)
        values.append((reward.sum(1) * log_prob.sum(1)).mean())
    return torch.stack(values)
