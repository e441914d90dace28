"""LBS (Mazzaglia et al. 2022): a head that predicts the KL of replayed steps, and rewards imagined states with it."""

import math

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, method_of, moved, tiny
from reference64 import HALF_LOG_2PI, below, kl, mlp, weights
from torch import nn

from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.exploration.lbs import LBS
from agents.nn.latent import Latent
from agents.nn.networks import parameter_count

WALKER = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
SMALL = Sizes((3, 64, 64), 2, 5, 7, 3, "walker")


def make_view(batch=3, length=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    blank = torch.zeros(batch, length, 0)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(
        obs=blank, embed=blank, action=blank, skill=blank, skill_valid=~first, is_first=first, post=latent,
        feat=torch.randn(batch, length, SMALL.feat, generator=generator),
        kl=torch.rand(batch, length, generator=generator) * 30,
    )  # fmt: skip


def rollout(horizon=4, starts=3, requires_grad=False):
    feat = torch.randn(horizon + 1, starts, SMALL.feat).requires_grad_(requires_grad)
    blank = torch.zeros(horizon + 1, starts, 0)
    action = torch.randn(horizon + 1, starts, SMALL.action).requires_grad_(requires_grad)
    return Imagined(feat, torch.zeros(horizon + 1, starts, SMALL.deter), action, blank)


def head(method, feat):
    return mlp(below(weights(method), "head"), feat.detach().double())[..., 0]


# ---- loss and reward


@pytest.mark.parametrize("layers", [1, 4])
def test_loss_is_the_unit_normal_likelihood_of_every_step(layers):
    """First records included."""
    method, view = LBS(SMALL, layers, 6), make_view()
    loss, metrics = method.loss(view)
    total, mean = 0.0, 0.0
    for b in range(3):
        for t in range(4):
            predicted = head(method, view.feat[b, t]).item()
            total += 0.5 * (view.kl[b, t].item() - predicted) ** 2 + HALF_LOG_2PI
            mean += predicted / 12
    assert loss.shape == () and loss.item() == pytest.approx(total / 12, rel=1e-5)
    assert metrics["lbs_predicted"].item() == pytest.approx(mean, rel=1e-4, abs=1e-6)


def test_the_floor_of_the_loss():
    method = LBS(SMALL, 2, 6)
    view = make_view()
    with torch.no_grad():
        view = view._replace(kl=method.surprise(view.feat))
    assert method.loss(view)[0].item() == pytest.approx(math.log(2 * math.pi) / 2)


def test_every_parameter_gets_a_gradient():
    method = LBS(SMALL, 4, 6)
    method.loss(make_view())[0].backward()
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 1e-5, name


def test_the_reward_of_every_imagined_state():
    """Time 0 counts, and the reward may be negative: nothing is clipped."""
    method, traj = LBS(SMALL, 4, 6), rollout(starts=40)
    with torch.no_grad():
        method.head[-1].bias -= method.surprise(traj.feat).mean()
    scored = method.score_imagined(traj)
    assert scored.value.shape == (5, 40) and scored.valid.all() and scored.valid.shape == (5, 40)
    torch.testing.assert_close(scored.value.double(), head(method, traj.feat), rtol=1e-5, atol=1e-6)
    assert (scored.value < 0).any() and (scored.value > 0).any()


def test_gradient_reaches_the_own_state_only():
    method, traj = LBS(SMALL, 4, 6), rollout(requires_grad=True)
    value = method.score_imagined(traj).value
    for t in range(5):
        traj.feat.grad = None
        value[t].sum().backward(retain_graph=True)
        touched = traj.feat.grad.abs().sum((1, 2)) > 0
        assert touched.tolist() == [i == t for i in range(5)]
    assert traj.action.grad is None


def test_float32_under_autocast():
    """A surprise of hundreds of nats is not rounded to whole numbers."""
    method, traj = LBS(SMALL, 2, 6), rollout()
    nn.init.constant_(method.head[-1].bias, 300.0)
    with torch.autocast("cpu", torch.bfloat16):
        value = method.score_imagined(traj).value
        loss, _ = method.loss(make_view())
    assert value.dtype == loss.dtype == torch.float32
    assert not torch.equal(value, value.round())
    torch.testing.assert_close(value.double(), head(method, traj.feat), rtol=0, atol=0.05)


# ---- sizes, configuration


def test_published_sizes():
    agent = composed("pretrain", "agent=lbs_dreamer")["agent"]
    method = method_of(agent, WALKER)
    assert type(method) is LBS and parameter_count(method) == 971_601 and method.scores == "imagination"
    assert [type(m) for m in method.head] == [nn.Linear, nn.ELU] * 4 + [nn.Linear]
    assert agent["actor_ent"] == 0 and agent["reward_norm"] == {"momentum": 0.95, "scale": 1.0, "eps": 1e-8}


def test_reference():
    agent = composed("pretrain", "agent=lbs_dreamer", "agent.reference=true")["agent"]
    assert agent["decoder_elu_output"] and agent["entropy_in_targets"]


# ---- in the agent


@pytest.mark.parametrize("overrides", [(), ("agent.reference=true",)])
def test_one_update(overrides):
    agent = make_agent(tiny("pretrain", "agent=lbs_dreamer", *overrides))
    before = copies(agent.main.method)
    metrics = agent.update(make_batch()).logged
    assert all(v.shape == () and v.isfinite() for v in metrics.values())
    assert {"lbs_loss", "lbs_grad_norm", "lbs_predicted"} <= metrics.keys()
    assert moved(agent.main.method, before) == set(before)


def test_the_target_is_the_kl_of_this_update(spy):
    agent, batch = make_agent(tiny("pretrain", "agent=lbs_dreamer")), make_batch()
    losses, imagined, scores = (
        spy(agent.main.method, "loss"),
        spy(agent.main, "score"),
        spy(agent.main.method, "score_imagined"),
    )
    observed = spy(agent.world_model, "observe")
    metrics = agent.update(batch).logged
    (view,), _ = losses.one
    torch.testing.assert_close(
        view.kl.double(), kl(view.post.logits.double(), observed.one[1].prior_logits.double()), atol=1e-5, rtol=1e-4
    )
    assert not view.kl.requires_grad and not view.feat.requires_grad
    # the behaviour is rewarded by the head as trained in this update
    (traj,), scored = scores.one
    assert imagined.one[1] is scored and scored.value.requires_grad
    torch.testing.assert_close(scored.value.detach().double(), head(agent.main.method, traj.feat), rtol=1e-5, atol=1e-5)
    assert metrics["reward_mean"].item() == pytest.approx(scored.value.mean().item(), rel=1e-5)


def test_the_reward_trains_the_actor():
    """Through the model's dynamics."""
    agent = make_agent(tiny("pretrain", "agent=lbs_dreamer"))
    nn.init.zeros_(agent.main.behavior.slow_critic.net[-1].weight)  # values without a gradient
    before = copies(agent.main.behavior.actor)
    metrics = agent.update(make_batch()).logged
    assert metrics["actor_grad_norm"] > 0
    assert moved(agent.main.behavior.actor, before) == set(before)


def test_the_actor_does_not_move_the_head():
    """After an update the head is what one step of its own loss makes of it."""
    agent, other, batch = (*(make_agent(tiny("pretrain", "agent=lbs_dreamer")) for _ in range(2)), make_batch())
    torch.manual_seed(6)
    agent.update(batch)
    torch.manual_seed(6)
    seen = other.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    other.main.train_method(other._view(seen, batch))
    for mine, want in zip(agent.main.method.parameters(), other.main.method.parameters(), strict=True):
        assert torch.equal(mine, want)
