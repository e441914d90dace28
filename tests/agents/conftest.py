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

    @property
    def categorical(self):
        """The uniform numbers behind draws of latents, (N, groups, 1) for every step."""
        drawn = [x.double() for x in self.uniform if x.dim() > 2 and x.shape[-1] == 1]
        return [step for x in drawn for step in x.reshape(-1, *x.shape[-3:])]

    def categorical_steps(self, count, groups):
        """The same, cut into steps of (count, groups, 1); however many calls they were drawn in."""
        flat = torch.cat([x.flatten() for x in self.categorical])
        size = count * groups
        return flat[: flat.numel() // size * size].reshape(-1, count, groups, 1)

    def normals(self):
        return [x.double() for x in self.normal]


@pytest.fixture
def noise(monkeypatch):
    """Records exponential_, randn_like, rand_like and rand."""
    log = Noise()
    exponential, randn, rand, rand_like = torch.Tensor.exponential_, torch.randn_like, torch.rand, torch.rand_like

    def recorded_exponential(self, *args, **kwargs):
        out = exponential(self, *args, **kwargs)
        log.exponential.append(out.detach().clone())
        return out

    def recorded_randn(*args, **kwargs):
        out = randn(*args, **kwargs)
        log.normal.append(out.detach().clone())
        return out

    def recorded_rand(draw):
        def recorded(*args, **kwargs):
            out = draw(*args, **kwargs)
            log.uniform.append(out.detach().clone())
            return out

        return recorded

    monkeypatch.setattr(torch.Tensor, "exponential_", recorded_exponential)
    monkeypatch.setattr(torch, "randn_like", recorded_randn)
    monkeypatch.setattr(torch, "rand", recorded_rand(rand))
    monkeypatch.setattr(torch, "rand_like", recorded_rand(rand_like))
    return log


@pytest.fixture
def spy(monkeypatch):
    """``spy(owner, name)``: the calls of a function that still does what it did."""
    return lambda owner, name: Spy(monkeypatch, owner, name)
