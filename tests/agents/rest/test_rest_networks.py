"""Actor and critic against float64, their sizes, the columns that they do not see, and the normaliser."""

import math

import pytest
import rest_reference as ref
import torch
from hypothesis import given
from hypothesis import strategies as st
from rest_kit import rest_settings

from agents.rest.density import Densities
from agents.rest.networks import Actor, Critic, Skill
from agents.rest.normalizer import Normalizer


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "obs_dim, actions, wanted",
    [(6, 2, (4_676, 4_609, 537_610)), (18, 6, (5_708, 5_377, 549_898))],  # the second is HalfCheetah's
)
def test_sizes(obs_dim, actions, wanted):
    """Actor with log std, critic, and a pair of target and predictor; one column is not seen by the first two."""
    settings = rest_settings()
    skill = Skill(obs_dim, actions, settings.ppo, exclude=1)
    densities = Densities(obs_dim, settings.rnd, [torch.nn.Identity()], same_start=True)
    assert (count(skill.policy), count(skill.critic), count(densities)) == wanted


def test_the_policy():
    actor = Actor(5, 2, [8, 7], exclude=2, log_std_init=-0.5)
    assert actor.log_std.tolist() == [-0.5, -0.5]
    with torch.no_grad():
        actor.log_std.copy_(torch.tensor([-1.0, 0.3]))
    obs, action = torch.randn(3, 4, 5), torch.randn(3, 4, 2)
    mean = actor(obs)
    want = ref.mlp(ref.weights(actor.net), obs.double()[..., 2:])
    torch.testing.assert_close(mean.double(), want, rtol=0, atol=1e-6)
    log_prob = ref.log_prob(want, actor.log_std.detach().double(), action.double())
    torch.testing.assert_close(actor.log_prob(mean, action).double(), log_prob, rtol=1e-5, atol=1e-5)
    entropy = sum(0.5 * math.log(2 * math.pi * math.e * math.exp(s) ** 2) for s in (-1.0, 0.3)) / 2
    assert actor.entropy().item() == pytest.approx(entropy, rel=1e-6)


def test_samples_have_its_moments():
    actor = Actor(3, 2, [4], exclude=0, log_std_init=-0.5)
    mean = torch.tensor([5.0, -2.0]).expand(40_000, 2)
    drawn = actor.sample(mean)
    torch.testing.assert_close(drawn.mean(0), mean[0], rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.std(0), torch.full((2,), math.exp(-0.5)), rtol=0.02, atol=0)


def test_the_critic():
    critic, obs = Critic(5, [8, 7], exclude=1), torch.randn(3, 4, 5)
    want = ref.mlp(ref.weights(critic.net), obs.double()[..., 1:])[..., 0]
    assert critic(obs).shape == (3, 4)
    torch.testing.assert_close(critic(obs).double(), want, rtol=0, atol=1e-6)


def test_excluded_columns_are_not_seen_and_all_others_are():
    obs = torch.randn(6, 5)
    for net in (Actor(5, 2, [8], exclude=2, log_std_init=0.0), Critic(5, [8], exclude=2)):
        before = net(obs)
        for column in range(5):
            moved = obs.clone()
            moved[:, column] += 1
            assert torch.equal(net(moved), before) == (column < 2)


batch = st.lists(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2), min_size=2, max_size=6)


@given(st.lists(batch, min_size=1, max_size=4))
def test_moments_are_those_of_everything_seen(parts):
    """From the first batch on; two passes over all values in float64."""
    normalizer, seen = Normalizer(2), []
    for part in parts:
        normalizer.update(torch.tensor(part))
        seen += part
        for column in range(2):
            values = [row[column] for row in seen]
            mean = sum(values) / len(values)
            assert normalizer.mean[column].item() == pytest.approx(mean, abs=1e-2)
            if len(seen) == len(part):  # of one batch: the unbiased variance
                spread = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                assert normalizer.var[column].item() == pytest.approx(spread, rel=1e-3, abs=0.2)


def test_normalised():
    normalizer = Normalizer(3)
    obs = torch.randn(4, 6, 3) * torch.tensor([2.0, 0.5, 0.0]) + torch.tensor([7.0, 0.0, 3.0])
    assert torch.equal(normalizer(obs), obs)  # before anything was seen
    normalizer.update(obs.flatten(0, 1))
    torch.testing.assert_close(normalizer(obs).double(), ref.normalised(normalizer, obs), rtol=1e-5, atol=1e-5)
    assert normalizer(obs)[..., :2].flatten(0, 1).std(0).tolist() == pytest.approx([1, 1], rel=1e-3)
    moved = normalizer(obs + torch.tensor([0, 0, 0.02]))[..., 2]
    assert moved.mean().item() == pytest.approx(2, abs=0.1)  # a column that stood still: the floor
    assert set(dict(normalizer.named_buffers())) == {"mean", "var", "count"}
