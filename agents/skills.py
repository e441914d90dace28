"""Skill spaces: what a skill-conditioned agent draws its skills from."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class SkillSpace(Protocol):
    """``dim`` is the size of the vector that networks are conditioned on; 0 means no skills."""

    dim: int

    def sample(self, count: int, device: torch.device) -> Tensor: ...


class NoSkills:
    """The agent has one behaviour; its skill vector is empty."""

    dim = 0

    def sample(self, count: int, device: torch.device) -> Tensor:
        """(count, 0)."""
        return torch.zeros(count, 0, device=device)


class OneHot:
    """n discrete skills, drawn uniformly."""

    def __init__(self, n: int) -> None:
        self.dim = n

    def sample(self, count: int, device: torch.device) -> Tensor:
        """One-hot vectors, (count, n)."""
        return F.one_hot(torch.randint(self.dim, (count,), device=device), self.dim).float()


class UnitSphere:
    """Directions in R^d: a Gaussian draw, normalised."""

    def __init__(self, d: int) -> None:
        self.dim = d

    def sample(self, count: int, device: torch.device) -> Tensor:
        """Unit vectors, (count, d)."""
        return F.normalize(torch.randn(count, self.dim, device=device), dim=-1)
