"""APT: the particles, their entropy, and an update of the whole agent."""

import math

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, method_of, moved, tiny

from agents.exploration.apt import APT
from agents.exploration.intrinsic_reward import Imagined, Sizes

SIZES = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")


def make_method(*overrides):
    return method_of(composed("pretrain", "agent=apt_dreamer", *overrides)["agent"], SIZES)


def rollout(horizon=3, count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    deter = torch.randn(horizon + 1, count, 200, generator=generator, requires_grad=True)
    feat = torch.randn(horizon + 1, count, 1224, generator=generator, requires_grad=True)
    return Imagined(feat, deter, torch.zeros(horizon + 1, count, 6), torch.zeros(horizon + 1, count, 0))


def distances(states, i, count_self):
    """From state i to all states (or all others), ascending."""
    points = states.detach().double().tolist()
    return sorted(math.dist(points[i], y) for j, y in enumerate(points) if count_self or j != i)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("k", [3, 12])
def test_reward_by_hand(reference, k):
    method = make_method(f"agent.knn_k={k}", f"agent.reference={reference}")
    traj = rollout()
    scored = method.score_imagined(traj)
    assert scored.value.shape == scored.valid.shape == (4, 5) and scored.valid.all()
    assert not scored.value.requires_grad
    states, used = traj.deter.reshape(-1, 200), []
    for t in range(4):
        for n in range(5):
            nearest = distances(states, 5 * t + n, reference)[:k]
            used += nearest
            assert scored.value[t, n].item() == pytest.approx(math.log(1 + sum(nearest) / k), rel=1e-5)
    assert scored.metrics["particle_distance"].shape == ()
    assert scored.metrics["particle_distance"].item() == pytest.approx(sum(used) / len(used), rel=1e-5)


def test_clip_and_the_farthest_neighbour():
    traj = rollout()
    states = traj.deter.reshape(-1, 200)
    found = make_method("agent.knn_avg=false", "agent.knn_k=4", "agent.knn_clip=18.5").score_imagined(traj).value
    want = [math.log(1 + max(distances(states, i, False)[3] - 18.5, 0)) for i in range(20)]
    torch.testing.assert_close(found.flatten().double(), torch.tensor(want).double(), rtol=1e-4, atol=1e-4)
    assert min(want) == 0 < max(want)


def test_only_h_matters():
    method, traj = make_method("agent.knn_k=3"), rollout()
    value = method.score_imagined(traj).value
    assert torch.equal(method.score_imagined(traj._replace(feat=traj.feat * 2)).value, value)
    assert not torch.allclose(method.score_imagined(traj._replace(deter=traj.deter * 2)).value, value)


def test_the_shipped_values_are_those_of_the_card():
    agent = composed("pretrain", "agent=apt_dreamer")["agent"]
    want = {"knn_k": 12, "knn_rms": False, "knn_avg": True, "knn_clip": 0.0, "knn_self": False, "actor_ent": 0.0}
    assert {key: agent[key] for key in want} == want and agent["reward_norm"]["momentum"] == 0.95
    method = make_method()
    assert isinstance(method, APT) and method.scores == "imagination" and method.skills.dim == 0
    assert list(method.parameters()) == [] and list(method.finetuned().parameters()) == []


def test_reference_counts_the_state_itself():
    agent = composed("pretrain", "agent=apt_dreamer", "agent.reference=true")["agent"]
    assert agent["knn_self"] and agent["decoder_elu_output"] and agent["entropy_in_targets"]
    alone = composed("pretrain", "agent=apt_dreamer", "agent.reference=true", "agent.knn_self=false")["agent"]
    assert not alone["knn_self"] and alone["entropy_in_targets"]


@pytest.mark.parametrize("rms", ["false", "true"])
def test_an_update_of_the_agent(rms):
    agent = make_agent(tiny("pretrain", "agent=apt_dreamer", f"agent.knn_rms={rms}"))
    actor = agent.main.behavior.actor
    before = copies(actor)
    metrics = agent.update(make_batch(4, 8)).logged
    assert all(x.shape == () and x.isfinite() for x in metrics.values())
    assert metrics["particle_distance"] > 0 and metrics["reward_mean"] > 0
    metrics = agent.update(make_batch(4, 8, seed=1)).logged  # by now the slow critic differs from state to state
    assert moved(actor, before) == set(before) and metrics["actor_grad_norm"] > 0
    assert "apt_loss" not in metrics and agent.main.method_opt is None
