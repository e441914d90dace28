"""Drives and pilots that the agent does not know: added, trained, saved and resumed through its one update."""

import io

import pytest
import torch
from agent_kit import OBS, Remembered, copies, make_agent, make_batch, moved, tiny
from graph_kit import graphed, stand_in
from toy_drives import CODES

from agents.latch import Latch
from agents.skills import OneHot
from utils.errors import UserError
from utils.graphs import EAGER_CALLS

TWO, META = "+agent.drives=toy_drives.two_drives", "+agent.drives=toy_drives.meta_drive"
PLAIN = {"encoder", "rssm", "decoder", "reward_head", "actor", "critic", "slow_critic", "method", "method_finetune"}


def two(*overrides, **more):
    return make_agent(tiny("pretrain", TWO, *overrides), **more)


def meta(*overrides, **more):
    return make_agent(tiny("finetune", META, *overrides), "finetune", **more)


def through_a_file(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def updates(agent, count=2, seed=0):
    torch.manual_seed(seed)
    return [agent.update(make_batch(seed=seed + i)) for i in range(count)]


# ---- a second drive


@pytest.mark.parametrize("name", ["dreamer", "lbs_dreamer", "diayn_dreamer"])
def test_one_update_trains_both_drives(name):
    agent = two(f"agent={name}", "kl.free=0")
    assert list(agent.drives) == ["main", "skill"]
    before = copies(agent)
    batch = make_batch(skill=agent.skill_dim)
    updated = agent.update(batch)
    agent.update(batch)
    still = {key for key in before if ".target." in key}
    assert set(before) - moved(agent, before) == still
    assert {"actor_loss", "skill_actor_loss", "skill_critic_grad_norm", "code_loss"} <= updated.losses.keys()
    assert {"reward_mean", "skill_reward_mean", "skill_skill_spread", "code_worst"} <= updated.metrics.keys()
    assert all(value.shape == () and value.isfinite() for value in updated.logged.values())


def test_the_second_drive_is_paid_by_its_own_method_and_leaves_the_reward_head_to_the_first():
    agent, batch = two(), make_batch()
    seen, score = [], agent.drives["skill"].method.score_imagined
    agent.drives["skill"].method.score_imagined = lambda traj: (seen.append(traj), score(traj))[1]
    targets, loss = [], agent.world_model.loss
    agent.world_model.loss = lambda seen, target: (targets.append(target), loss(seen, target))[1]
    metrics = agent.update(batch).metrics
    (traj,), (target,) = seen, targets
    assert traj.skill.shape == (agent.main.behavior.horizon + 1, 18, CODES) and torch.equal(
        target.value, batch["reward"]
    )
    want = -(traj.skill @ agent.drives["skill"].method.places - traj.deter).norm(dim=-1).mean()
    assert metrics["skill_reward_mean"].item() == pytest.approx(want.item(), rel=1e-5)
    assert metrics["reward_mean"].item() != pytest.approx(want.item(), rel=1e-2)


def test_the_main_drive_learns_the_same_beside_another():
    """But for the random numbers that the other one draws."""
    alone, beside = make_agent(tiny()), two()
    beside.world_model.load_state_dict(alone.world_model.state_dict())
    beside.main.load_state_dict(alone.main.state_dict())
    for agent in (alone, beside):
        updates(agent, 1)
    assert not moved(beside.main.behavior, copies(alone.main.behavior))
    assert not moved(beside.world_model, copies(alone.world_model))


def test_a_method_that_reads_the_batch_gets_that_of_the_update():
    agent = two()
    updates(agent, 3)
    seen = agent.drives["skill"].method.seen
    assert [count for count, _ in seen] == [0, 1, 2] and len({total for _, total in seen}) == 3


def test_snapshots_name_the_second_drive_and_leave_the_first_as_it_was():
    agent = two()
    updates(agent)
    modules = through_a_file(agent.snapshot_modules())
    own = {"skill_actor", "skill_critic", "skill_slow_critic", "skill_method", "skill_method_finetune", "skill_skills"}
    assert set(modules) == PLAIN | own
    watched = two(seed=9)
    watched.load_weights(modules)
    assert not moved(watched, copies(agent))
    tuned = make_agent(tiny("finetune"), "finetune", seed=9)  # with the first drive alone
    tuned.load_snapshot(modules, init_actor=True, init_critic=True)
    assert not moved(tuned.main.behavior, copies(agent.main.behavior))
    both = two(seed=9)
    both.load_snapshot(modules, init_actor=True, init_critic=False)
    second = both.drives["skill"].behavior
    assert not moved(second.actor, copies(agent.drives["skill"].behavior.actor))
    assert moved(second.critic, copies(agent.drives["skill"].behavior.critic))


def test_a_resumed_agent_goes_on_bit_for_bit():
    agent, other = two(), two(seed=9)
    updates(agent)
    state = through_a_file(agent.training_state())
    other.load_training_state(state)
    assert {"model", "actor", "critic", "skill_actor", "skill_critic", "skill_method"} == state["optimizers"].keys()
    for a, b in zip(updates(agent, seed=5), updates(other, seed=5), strict=True):
        assert a.logged.keys() == b.logged.keys() and all(torch.equal(a.logged[k], b.logged[k]) for k in a.logged)
    assert not moved(other, copies(agent))


def test_what_is_recorded_and_what_is_shown_are_two_questions():
    agent = two()
    assert agent.recorded.dim == 0 and isinstance(agent.shown, OneHot) and agent.shown.dim == CODES
    image, first = torch.zeros(2, *OBS, dtype=torch.uint8), torch.ones(2, dtype=torch.bool)
    acting = agent.start(2)
    assert acting.skill.shape == (2, 0)
    codes = torch.eye(CODES)[[0, 2]]
    torch.manual_seed(0)
    shown, after = agent.act(image, acting._replace(skill=codes), first, "show")
    assert torch.equal(after.skill, codes)
    latent = after.memory
    torch.testing.assert_close(shown, agent.drives["skill"].behavior.actor(latent.feat, codes).mean)
    torch.manual_seed(0)
    own, after = agent.act(image, acting, first, "eval")
    torch.testing.assert_close(own, agent.main.behavior.actor(latent.feat, acting.skill).mean)


@pytest.mark.parametrize("factory", ["two_scorers", "named_otherwise"])
def test_setups_that_cannot_be(factory):
    with pytest.raises(AssertionError, match="main"):
        make_agent(tiny("pretrain", f"+agent.drives=toy_drives.{factory}"))


@pytest.mark.parametrize("path", ["toy_drives.gone", "nowhere.two_drives", "toy_drives", "toy_drives.CODES"])
def test_a_factory_that_is_none_is_the_users(path):
    with pytest.raises(UserError, match=rf"agent\.drives={path}"):
        make_agent(tiny("pretrain", f"+agent.drives={path}"))


def test_drives_and_their_view_go_through_a_captured_graph(monkeypatch):
    replayed = stand_in(monkeypatch)
    eager, captured = two(), graphed(two())
    for agent in (eager, captured):
        updates(agent, EAGER_CALLS + 3)
    assert replayed.made == 1 and not moved(captured, copies(eager))
    assert captured.drives["skill"].method.seen == eager.drives["skill"].method.seen


# ---- a controller over codes


def play(agent, mode, steps=4, count=3):
    acting, skills = agent.start(count), []
    for step in range(steps):
        image = torch.randint(0, 256, (count, *OBS), dtype=torch.uint8)
        action, acting = agent.act(image, acting, torch.full((count,), step == 0), mode)
        skills.append(acting.skill)
    return action, torch.stack(skills)


def rewarding():
    batch = make_batch()
    batch["reward"][0, 0] = 5.0
    return batch


def test_a_selector_reads_the_latent_and_nothing_of_it_is_recorded():
    agent = meta()
    assert agent.recorded.dim == 0 and agent.shown.dim == CODES
    _, held = play(agent, "train")
    assert (held == held[0]).all()  # random codes, as no reward was found
    agent.main.found.trip()
    with torch.no_grad():
        agent.main.behavior.terms["selector"].network.net[-1].bias.copy_(torch.tensor([-50.0, 50.0, -50.0]))
    for mode in ("train", "eval"):
        action, picked = play(agent, mode)
        assert (picked == torch.eye(CODES)[1]).all() and action.abs().max() <= 1
    image, first = torch.zeros(2, *OBS, dtype=torch.uint8), torch.ones(2, dtype=torch.bool)
    shown = agent.start(2)._replace(skill=torch.eye(CODES)[[0, 2]])
    assert torch.equal(agent.act(image, shown, first, "show")[1].skill, shown.skill)  # no selector overrules it


def test_the_controller_waits_for_the_first_reward_and_then_learns_both_ways():
    agent = meta()
    quiet = make_batch() | {"reward": torch.zeros(3, 6)}
    assert agent.adapt(10, Remembered(lambda: quiet)) is None
    keys = {agent.graph_key(None)}
    assert not {name for name in agent.update(quiet).losses if "selector" in name}
    assert agent.adapt(20, Remembered(rewarding)) and agent.adapt(30, Remembered(rewarding)) is None
    keys.add(agent.graph_key(None))
    assert len(keys) == 2
    before = copies(agent.main.behavior)
    losses = agent.update(rewarding()).losses
    assert {"selector_loss", "selector_grad_norm", "executor_loss", "executor_grad_norm", "critic_loss"} <= set(losses)
    assert losses["selector_grad_norm"] > 0 and losses["executor_grad_norm"] > 0
    slow = {name for name in before if name.startswith("slow_critic")}
    agent.update(rewarding())
    assert set(before) == moved(agent.main.behavior, before) | slow


def test_what_was_found_survives_a_resume_and_a_snapshot():
    agent = meta()
    agent.adapt(20, Remembered(rewarding))
    agent.update(rewarding())
    resumed, watched = meta(seed=9), meta(seed=9)
    resumed.load_training_state(through_a_file(agent.training_state()))
    watched.load_weights(through_a_file(agent.snapshot_modules()))
    for other in (resumed, watched):
        assert other.main.found.on and other.graph_key("train") == agent.graph_key("train")
        assert not moved(other.main, copies(agent.main))


def test_the_executor_begins_as_what_the_codes_trained():
    source, agent = two(), meta(seed=9)
    updates(source)
    agent.load_snapshot(through_a_file(source.snapshot_modules()), init_actor=True, init_critic=True)
    assert not moved(agent.main.behavior.executor, copies(source.drives["skill"].behavior.actor))


def test_a_critic_without_skills_ignores_those_of_the_rollout():
    agent = meta()
    feat = torch.randn(4, 5, agent.world_model.rssm.feat_dim)
    values = [agent.main.behavior.critic(feat, torch.rand(4, 5, CODES)) for _ in range(2)]
    assert torch.equal(*values)


def test_the_codes_vary_within_an_imagined_rollout():
    agent = meta()
    start = agent.world_model.rssm.initial(64)
    traj, decisions = agent.main.behavior.rollout(agent.world_model.rssm, start, torch.zeros(64, 0), 6)
    assert traj.skill.shape == (7, 64, CODES) and (traj.skill[1:] != traj.skill[:-1]).any()
    assert torch.equal(decisions["selector"].taken, traj.skill[:-1])
    assert torch.equal(decisions["executor"].taken, traj.action[1:])


def test_a_latch_stays_and_survives():
    latch, other = Latch(), Latch()
    assert not latch.on
    other.load_state_dict(latch.state_dict())
    assert not other.on
    latch.trip()
    other.load_state_dict(latch.state_dict())
    assert latch.on and other.on
