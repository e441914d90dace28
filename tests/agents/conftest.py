"""Noise that can be replayed, and calls that are watched."""

import pytest
import torch
from skill_kit import Spy


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Noise:
    """Every random draw a test's code made, in order."""

    def __init__(self):
        self.exponential, self.normal, self.uniform = [], [], []

    def clear(self):
        self.__init__()

    def exp_steps(self, *shape):
        """All Exp(1) draws as float64, cut into steps of ``shape``; however many calls they were drawn in."""
        flat = torch.cat([x.flatten() for x in self.exponential]).double()
        size = torch.Size(shape).numel()
        return flat[: flat.numel() // size * size].reshape(-1, *shape)

    def normals(self):
        return [x.double() for x in self.normal]


@pytest.fixture
def noise(monkeypatch):
    """Records exponential_, randn_like and rand_like."""
    log = Noise()
    exponential, randn, rand = torch.Tensor.exponential_, torch.randn_like, torch.rand_like

    def recorded_exponential(self, *args, **kwargs):
        out = exponential(self, *args, **kwargs)
        log.exponential.append(out.detach().clone())
        return out

    def recorded_randn(*args, **kwargs):
        out = randn(*args, **kwargs)
        log.normal.append(out.detach().clone())
        return out

    def recorded_rand(*args, **kwargs):
        out = rand(*args, **kwargs)
        log.uniform.append(out.detach().clone())
        return out

    monkeypatch.setattr(torch.Tensor, "exponential_", recorded_exponential)
    monkeypatch.setattr(torch, "randn_like", recorded_randn)
    monkeypatch.setattr(torch, "rand_like", recorded_rand)
    return log


@pytest.fixture
def spy(monkeypatch):
    """``spy(owner, name)``: the calls of a function that still does what it did."""
    return lambda owner, name: Spy(monkeypatch, owner, name)
