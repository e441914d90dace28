"""The classifier of independent policies: what it remembers, learns from, and rewards."""

import math

import pytest
import torch
from rest_kit import rest_settings

from agents.nn.optimizer import Optimizer
from agents.nn.skill_classifier import SkillClassifier
from agents.rest.diayn import Discriminator

D, N = 4, 3


def make(**changes):
    settings = rest_settings({"diayn": {"hidden": 16, "iters": 4, "batch_size": 64, "memory": 30} | changes}).diayn
    return Discriminator(D, N, settings)


def optimizer_of(discriminator, lr=1e-2):
    return Optimizer(discriminator.classifier.parameters(), lr=lr, eps=1e-8, clip=None, wd=0.0)


def test_reward_by_hand():
    discriminator = make()
    assert type(discriminator.classifier) is SkillClassifier
    discriminator.normalizer.update(5 * torch.randn(40, D) + 2)
    obs = torch.randn(2, 6, D)
    found = discriminator.reward(obs, 1)
    assert found.shape == (2, 6) and not found.requires_grad
    logits = discriminator.classifier.net(discriminator.normalizer(obs)).double()
    want = logits[..., 1] - torch.log(torch.exp(logits).sum(-1)) + math.log(N)
    torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows, kept", [(12, range(12)), (30, range(30)), (60, range(0, 60, 2)), (90, range(0, 90, 3))])
def test_it_remembers_the_newest_states_evenly(rows, kept):
    discriminator = make()
    discriminator.remember(2, torch.full((25, D), -1.0))
    discriminator.remember(2, torch.arange(float(rows))[:, None].expand(rows, D))
    assert discriminator.kept.tolist() == [0, 0, len(kept)]
    assert discriminator.states[2, : len(kept), 0].tolist() == list(kept)
    assert not discriminator.states[:2].any()
    assert discriminator.normalizer.count.item() == pytest.approx(25 + rows, abs=0.1)


def test_it_learns_from_all_skills_that_have_acted_in_equal_shares(monkeypatch):
    """Skill 1 has not; skill 0 has few states, and each of them counts for more."""
    discriminator, seen = make(batch_size=3000, iters=1), []
    discriminator.remember(0, torch.full((2, D), -1.0) + 0.01 * torch.randn(2, D))
    discriminator.remember(2, torch.full((30, D), 1.0) + 0.01 * torch.randn(30, D))
    loss = discriminator.classifier.loss
    monkeypatch.setattr(discriminator.classifier, "loss", lambda *a: seen.append(a) or loss(*a))
    discriminator.fit(optimizer_of(discriminator))
    ((obs, skill, weight),) = seen
    assert skill.mean(0).tolist() == pytest.approx([0.5, 0, 0.5], abs=0.05) and (weight == 1).all()
    assert torch.equal(obs[:, 0] > 0, skill[:, 2] == 1)  # each state with the skill that led to it


def test_skills_that_can_be_told_apart_are_rewarded():
    discriminator = make(iters=200, memory=200)
    places = [torch.randn(100, D) * 0.2 + 3 * k for k in range(N)]
    for k, place in enumerate(places):
        discriminator.remember(k, place)
    updated = discriminator.fit(optimizer_of(discriminator))
    assert updated.metrics["diayn_acc"] > 0.95 and updated.losses["diayn_loss"] < 0.3
    for k, place in enumerate(places):
        assert discriminator.reward(place, k).mean() > 0.8 * math.log(N)
        assert discriminator.reward(place, (k + 1) % N).mean() < 0


def test_every_parameter_is_trained():
    discriminator = make()
    discriminator.remember(0, torch.randn(20, D))
    before = [p.detach().clone() for p in discriminator.parameters()]
    discriminator.fit(optimizer_of(discriminator))
    assert all(not torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))
