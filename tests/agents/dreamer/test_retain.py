"""An actor that waits for its critic, and its tie to where it started."""

import pytest
import torch
from agent_kit import copies, make_agent, make_batch, moved, tiny
from test_behavior import FEAT, OPT, H, head_score, make

from agents.dreamer.behavior import imagine
from agents.dreamer.retain import Anchor
from agents.nn.distributions import ClippedNormal, normal_kl

WEIGHT, UPDATES = 0.7, 4
TIED = ("retain.anchor=2", f"retain.anchor_updates={UPDATES}")


def test_the_divergence_of_normals():
    mean, std = torch.randn(2, 3, 5), torch.rand(2, 3, 5) + 0.1
    p, q = (ClippedNormal(mean[i], std[i]) for i in range(2))
    wide = [torch.distributions.Normal(mean[i].double(), std[i].double()) for i in range(2)]
    want = torch.distributions.kl_divergence(*wide).sum(-1)
    torch.testing.assert_close(normal_kl(p, q).double(), want, rtol=1e-5, atol=1e-5)
    assert normal_kl(p, p).abs().max() < 1e-6


def test_the_tie_fades_and_needs_something_to_hold_on_to():
    actor = make().behavior.actor
    anchor = Anchor(make(seed=1).behavior.actor, WEIGHT, UPDATES)
    anchor.settle(0)
    assert anchor.now == 0
    anchor.hold(actor)
    assert all(map(torch.equal, anchor.actor.state_dict().values(), actor.state_dict().values()))
    for count, share in enumerate((1, 0.75, 0.5, 0.25, 0, 0)):
        anchor.settle(count)
        assert anchor.now.item() == pytest.approx(WEIGHT * share)


def losses(parts, **how):
    torch.manual_seed(5)
    return parts.behavior.update(parts.rssm, parts.start, parts.skill, head_score(parts), parts.head, **how).logged


def test_it_adds_the_weighted_divergence_to_the_actors_loss():
    parts, plain = make(skill_dim=3, anchor=(WEIGHT, UPDATES)), make(skill_dim=3)
    parts.behavior.load_state_dict(plain.behavior.state_dict(), strict=False)
    parts.rssm, parts.head, parts.start, parts.skill = plain.rssm, plain.head, plain.start, plain.skill
    anchor = parts.behavior.anchor
    anchor.hold(make(skill_dim=3, seed=8).behavior.actor)
    anchor.settle(1)
    torch.manual_seed(5)
    traj, policy = imagine(plain.rssm, plain.behavior.actor, plain.start, plain.skill, H)
    start = anchor.actor(traj.feat[:-1], traj.skill[:-1])
    wide = [torch.distributions.Normal(x.mean.double(), x.std.double()) for x in (policy, start)]
    apart = torch.distributions.kl_divergence(*wide).sum(-1).detach()
    decay = torch.tensor([plain.behavior.discount**t for t in range(H - 1)]).double()[:, None]
    want = 0.75 * WEIGHT * (decay * apart[:-1]).mean()
    assert want > 0.01
    before, actor = losses(plain), copies(anchor.actor)
    after = losses(parts)
    assert (after["actor_loss"] - before["actor_loss"]).item() == pytest.approx(want.item(), rel=1e-3)
    assert after["actor_apart"].item() == pytest.approx(apart.mean().item(), rel=1e-4)
    assert after["critic_loss"] == before["critic_loss"]
    assert not moved(anchor.actor, actor)


def test_its_gradient_leads_back():
    """With nothing else to gain the actor goes where it started."""
    parts = make(anchor=(100.0, 10**6), actor_ent=0.0, actor_opt=OPT | {"lr": 3e-3})
    anchor = parts.behavior.anchor
    anchor.hold(make(seed=8).behavior.actor)
    anchor.settle(0)
    assert parts.behavior.actor.net[0].in_features == FEAT
    apart = [losses(parts)["actor_apart"].item() for _ in range(150)]
    assert apart[-1] < 0.1 * apart[0]


def test_a_waiting_actor_leaves_the_critic_to_learn():
    parts = make()
    before = copies(parts.behavior)
    found = losses(parts, decides=False)
    assert {name.partition(".")[0] for name in moved(parts.behavior, before)} == {"critic"}
    assert "actor_loss" not in found and "actor_ent" in found
    same = make()
    assert losses(same)["critic_loss"] == found["critic_loss"]


def test_an_agent_whose_actor_waits_a_few_updates():
    agent = make_agent(tiny("finetune", "retain.actor_waits=2", "snapshot_ts=0"), phase="finetune")
    for number in range(4):
        actor, critic = copies(agent.main.behavior.actor), copies(agent.main.behavior.critic)
        found = agent.update(make_batch()).losses
        assert bool(moved(agent.main.behavior.actor, actor)) == ("actor_loss" in found) == (number >= 2)
        assert moved(agent.main.behavior.critic, critic)


@pytest.mark.parametrize("init_actor", [True, False])
def test_an_agent_holds_on_to_the_snapshots_actor(init_actor):
    snapshot = make_agent(tiny("pretrain"), seed=3).snapshot_modules()
    agent = make_agent(tiny("finetune", *TIED, "retain.actor_waits=1"), phase="finetune")
    agent.load_snapshot(snapshot, init_actor=init_actor, init_critic=False)
    weights = []
    for _ in range(3):
        found = agent.update(make_batch()).metrics
        weights.append(found["actor_anchor"].item() if "actor_anchor" in found else None)
    assert weights == ([None, 2.0, 1.5] if init_actor else [None, 0.0, 0.0])
    again = make_agent(tiny("finetune", *TIED, "retain.actor_waits=1"), phase="finetune", seed=9)
    again.load_training_state(agent.training_state())
    ends = []
    for one in (agent, again):
        torch.manual_seed(0)
        ends.append(one.update(make_batch(seed=1)).logged)
    assert ends[0]["actor_anchor"] == ends[1]["actor_anchor"] == (1.0 if init_actor else 0.0)
    assert ends[0]["actor_loss"] == ends[1]["actor_loss"]


def test_a_finetuned_snapshot_has_no_more_in_it_than_any():
    tied = make_agent(tiny("finetune", *TIED), phase="finetune")
    assert tied.snapshot_modules().keys() == make_agent(tiny("finetune"), phase="finetune").snapshot_modules().keys()
