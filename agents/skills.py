"""Skill spaces: what a skill-conditioned agent draws its skills from."""

from typing import Annotated, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn import across
from utils.rules import MOST_UNITS, whole

SkillCount = Annotated[int, whole(2, MOST_UNITS)]
"""How many skills there are, or dimensions of a skill."""


TURNS = 64
"""Orders of all skills that are drawn for trying them evenly."""


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


class Cube:
    """Points of [0, 1]^d, drawn uniformly."""

    GRID = 11
    """Points of the diagonal that stand for all: 0, 0.1, ..., 1 times the vector of ones."""

    def __init__(self, d: int) -> None:
        self.dim = d

    def sample(self, count: int, device: torch.device) -> Tensor:
        """(count, d)."""
        return torch.rand(count, self.dim, device=device)

    def candidates(self, device: torch.device) -> Tensor:
        """The grid of the diagonal, (11, d)."""
        return torch.linspace(0, 1, self.GRID, device=device)[:, None].repeat(1, self.dim)

    def name(self, skill: Tensor) -> str:
        """Its mean: of a point of the diagonal, each entry."""
        return f"skill v = {skill.mean().item():.2g}"


class SkillSchedule(nn.Module):
    """Which skill each environment follows: a new one every ``period`` steps, until one is chosen for good.

    ``period=0`` keeps a skill for the whole episode. ``evenly``: environments try the candidates of discrete skills, or
    of a cube, in turns that hold each of them once, in place of independent draws.
    """

    def __init__(self, space: SkillSpace, period: int, *, evenly: bool = False) -> None:
        super().__init__()
        self.space, self.period = space, period
        self.settled = False
        self.chosen: Tensor
        self.register_buffer("chosen", torch.zeros(space.dim))
        self.choice_made: Tensor | None = None
        if isinstance(space, Cube):  # elsewhere no skill is the zero vector
            del self.choice_made
            self.register_buffer("choice_made", torch.zeros((), dtype=torch.bool))
        count = len(space.candidates(torch.device("cpu")))
        self.turns = Turns(count) if evenly and isinstance(space, OneHot | Cube) else None
        self.register_load_state_dict_post_hook(SkillSchedule._loaded)

    def settle(self, skill: Tensor) -> None:
        """Follow ``skill`` (dim,) from now on."""
        self.chosen.copy_(skill)
        if self.choice_made is not None:
            self.choice_made.fill_(True)
        self.settled = True

    def draw(self, count: int) -> Tensor:
        """Skills for ``count`` episodes or imagined rollouts, (count, dim): the chosen one once there is one."""
        if self.settled:
            return self.chosen.repeat(count, 1)
        return across.own_rows(lambda rows: self.space.sample(rows, self.chosen.device), count)

    def renew(self, skill: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """Skills (n, dim) that have been followed for ``age`` (n,) steps -> skills for the next step and their age."""
        if self.settled:
            return self.draw(len(age)), age
        if not self.period or not self.space.dim:
            return skill, age
        due = age >= self.period
        return self.replace(skill, due), torch.where(due, 0, age)

    def replace(self, skill: Tensor, due: Tensor) -> Tensor:
        """Skills (n, dim) of environments, with another one where ``due`` (n,) bool holds."""
        if self.turns is None or self.settled:
            return torch.where(due[:, None], self.draw(len(due)), skill)
        return torch.where(due[:, None], self.space.candidates(skill.device)[self.turns.take(due)], skill)

    def _loaded(self, incompatible: object) -> None:
        self.settled = bool(self.chosen.any() if self.choice_made is None else self.choice_made)


class Turns(nn.Module):
    """The numbers 0 .. n - 1 in a random order, then in another one, and so on.

    ``TURNS`` orders are drawn at the start; after the last the first comes again. Nothing is read on the host, so a
    captured graph may hold it.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.order: Tensor
        self.taken: Tensor
        self.register_buffer("order", torch.cat([torch.randperm(n) for _ in range(TURNS)]))
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def take(self, due: Tensor) -> Tensor:
        """The next number for each entry of ``due`` (n,) bool that holds; int64 (n,), arbitrary elsewhere."""
        place = self.taken + due.cumsum(0) - 1
        self.taken.add_(due.sum())
        return self.order[place.clamp(min=0) % len(self.order)]
