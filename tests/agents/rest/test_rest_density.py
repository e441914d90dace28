"""Errors and refits of densities against float64 and torch's own Adam."""

import copy

import pytest
import rest_reference as ref
import torch
from rest_kit import rest_settings
from torch import nn

from agents.nn.optimizer import Optimizer
from agents.rest import density
from agents.rest.density import Densities, ScaledPositions
from agents.rest.normalizer import Normalizer

D = 5


def make(count=3, views=None, same_start=False, **changes):
    settings = rest_settings({"rnd": {"hid_sizes": [9, 6], "outputs": 4, "iters": 5} | changes}).rnd
    return Densities(D, settings, views or [nn.Identity()] * count, same_start=same_start)


def optimizer_of(densities, skill=0):
    return Optimizer(densities.predictors[skill].parameters(), lr=1e-2, eps=1e-8, clip=None, wd=0.0)


def exact_error(densities, skill, seen):
    mine, theirs = (ref.mlp(ref.weights(net), seen.double())
                    for net in (densities.predictors[skill], densities.target(skill)))  # fmt: skip
    return ((mine - theirs) ** 2).sum(-1) / 4


@pytest.mark.parametrize("shared_target", [True, False])
@pytest.mark.parametrize("skills", [None, [2, 0], []])
@pytest.mark.parametrize("rows", [2048, 7])
def test_errors(shared_target, skills, rows, monkeypatch):
    monkeypatch.setattr(density, "ROWS", rows)
    densities, obs = make(shared_target=shared_target), 3 * torch.randn(4, 6, D)
    assert len(densities.targets) == (1 if shared_target else 3)
    assert [densities.target(k) is densities.targets[0] for k in range(3)] == [True, shared_target, shared_target]
    found = densities.errors(obs, skills)
    wanted = [0, 1, 2] if skills is None else skills
    assert found.shape == (len(wanted), 4, 6) and not found.requires_grad
    for row, skill in zip(found, wanted, strict=True):
        torch.testing.assert_close(row.double(), exact_error(densities, skill, obs), rtol=1e-4, atol=1e-6)


def test_a_shared_target_is_asked_once():
    densities, calls = make(), []
    densities.targets[0].register_forward_hook(lambda *_: calls.append(1))
    densities.errors(torch.randn(8, D))
    assert len(calls) == 1


def test_views():
    """Each skill's own normaliser, so the shared target sees the same state thrice, differently."""
    views = [Normalizer(D) for _ in range(3)]
    for k, view in enumerate(views):
        view.update((k + 1) * torch.randn(50, D) + k)
    densities, obs = make(views=views), torch.randn(7, D)
    found = densities.errors(obs)
    for k, view in enumerate(views):
        torch.testing.assert_close(found[k].double(), exact_error(densities, k, view(obs)), rtol=1e-4, atol=1e-6)
    assert set(densities.state_dict()) == {
        f"{part}.{layer}.{kind}"
        for part in ("targets.0", "predictors.0", "predictors.1", "predictors.2")
        for layer in (0, 2, 4)
        for kind in ("weight", "bias")
    }  # the views are others' to save


def test_scaled_positions():
    obs = torch.arange(10.0).reshape(2, 5)
    assert ScaledPositions(2, 0.5)(obs).tolist() == [[0, 0.5, 2, 3, 4], [2.5, 3, 7, 8, 9]]
    assert torch.equal(ScaledPositions(0, 0.5)(obs), obs)


@pytest.mark.parametrize("same_start", [True, False])
def test_start(same_start):
    densities = make(same_start=same_start)
    first, *others = [p.state_dict() for p in densities.predictors]
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first) == same_start
    assert not any(p.requires_grad for p in densities.targets.parameters())
    assert all(p.requires_grad for p in densities.predictors.parameters())
    assert (densities.errors(torch.randn(20, D)) > 0).all()


@pytest.mark.parametrize("rows", [2048, 16])
def test_a_refit_is_plain_adam(rows, monkeypatch):
    """Whatever part of the rows goes through at once; and a second refit goes on with the optimiser's state."""
    monkeypatch.setattr(density, "ROWS", rows)
    densities = make()
    plain, target, optimizer = copy.deepcopy(densities.predictors[1]), densities.target(1), optimizer_of(densities, 1)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-2)
    others = copy.deepcopy(densities.predictors[0].state_dict())
    for _ in range(2):
        obs, losses = torch.randn(50, D), []
        updated = densities.refit(1, obs, optimizer)
        for _ in range(5):
            adam.zero_grad()
            loss = (plain(obs) - target(obs)).square().mean()
            losses.append(loss.item())
            loss.backward()
            adam.step()
        assert updated.metrics["rnd_error_before"].item() == pytest.approx(losses[0], rel=1e-5)
        assert updated.losses["rnd_loss"].item() == pytest.approx(losses[-1], rel=1e-3)
        for a, b in zip(densities.predictors[1].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(others[key], value) for key, value in densities.predictors[0].state_dict().items())


def test_a_refit_in_float64():
    densities = make(iters=3)
    obs, want = torch.randn(30, D), ref.weights(densities.predictors[0])
    wanted = ref.mlp(ref.weights(densities.target(0)), obs.double())

    def loss(parameters):
        return ((ref.mlp(parameters, obs.double()) - wanted) ** 2).sum() / wanted.numel()

    want, losses = ref.descend(want, loss, 1e-2, 3)
    updated = densities.refit(0, obs, optimizer_of(densities))
    assert updated.losses["rnd_loss"].item() == pytest.approx(losses[-1], rel=1e-4)
    for found, exact in zip(densities.predictors[0].parameters(), want, strict=True):
        torch.testing.assert_close(found.detach().double(), exact, rtol=1e-3, atol=1e-4)


def test_a_refit_on_some_of_the_rows():
    densities, sizes = make(iters=6, batch_size=8), []
    densities.predictors[0].register_forward_hook(lambda net, x, y: sizes.append(len(x[0])))
    obs = torch.randn(30, D)
    before = densities.errors(obs, [0]).mean()
    sizes.clear()
    densities.refit(0, obs, optimizer_of(densities))
    assert sizes == [8] * 6
    assert densities.errors(obs, [0]).mean() < before


def test_small_where_the_skill_goes_large_where_it_does_not():
    densities = make(hid_sizes=[64, 64], iters=80, same_start=True)
    here, there = torch.randn(400, D) * 0.3, torch.randn(400, D) * 0.3 + 6
    densities.refit(0, here, optimizer_of(densities, 0))
    densities.refit(1, there, optimizer_of(densities, 1))
    error = [[densities.errors(states, [k]).mean().item() for states in (here, there)] for k in (0, 1)]
    assert error[0][0] < 0.1 * error[0][1] and error[1][1] < 0.1 * error[1][0]
