"""The agent in both phases: who acts when, what is stored and loaded, how large it is."""

import pytest
import torch
from agent_kit import ACTIONS, OBS, Remembered, composed, copies, make_agent, make_batch, moved, tiny
from choreo_kit import CODES, finetuning, pretraining, quiet, started
from settings_kit import agent_settings, typed

from agents.dreamer.agent import DreamerAgent
from agents.nn.networks import parameter_count
from agents.skills import OneHot
from utils.errors import UserError


def image(count=2):
    return torch.randint(0, 256, (count, *OBS), dtype=torch.uint8)


def play(agent, mode, steps=6, count=2):
    """The skills (steps, count, N) that were acted by."""
    acting, skills = agent.start(count), []
    acting = agent.begin(acting, torch.ones(count, dtype=torch.bool))
    for step in range(steps):
        _, acting = agent.act(image(count), acting, torch.full((count,), step == 0), mode)
        skills.append(acting.skill)
    return torch.stack(skills)


def learned(agent, before):
    """What of the behaviour moved, but for the slow critic: that begins as the critic with the first update."""
    return {name for name in moved(agent.main.behavior, before) if "slow" not in name}


# ---- pre-training


def test_the_explorer_collects_and_the_skills_are_shown():
    agent = pretraining()
    assert list(agent.drives) == ["main", "skill"] and agent.collects == "train"
    assert agent.recorded.dim == agent.skill_dim == 0 and not agent.tries_skills
    assert isinstance(agent.shown, OneHot) and agent.shown.dim == CODES
    first, codes = torch.ones(2, dtype=torch.bool), torch.eye(CODES)[[0, 3]]
    torch.manual_seed(0)
    shown, after = agent.act(seen := image(), agent.start(2)._replace(skill=codes), first, "show")
    torch.testing.assert_close(shown, agent.drives["skill"].behavior.actor(after.memory.feat, codes).mean)
    torch.manual_seed(0)
    own, after = agent.act(seen, agent.start(2), first, "eval")
    torch.testing.assert_close(own, agent.main.behavior.actor(after.memory.feat, after.skill).mean)


def test_what_an_update_says():
    agent = pretraining()
    updated = agent.update(make_batch())
    losses = {"lbs_loss", "skill_loss", "actor_loss", "critic_loss", "skill_actor_loss", "skill_critic_loss"}
    assert losses | {"skill_grad_norm", "skill_actor_grad_norm"} <= updated.losses.keys()
    metrics = {"rec_loss", "commit_loss", "unused_codes", "resampled_codes", "code_usage_ent", "skill_reward_mean"}
    assert metrics | {"skill_code_reward", "skill_entropy_reward", "skill_skill_spread"} <= updated.metrics.keys()
    want = updated.metrics["skill_code_reward"] + updated.metrics["skill_entropy_reward"]
    torch.testing.assert_close(updated.metrics["skill_reward_mean"], want)
    torch.testing.assert_close(updated.metrics["skill_reward_normed_mean"], want)  # as it is


def test_pictures_of_codes():
    agent = pretraining()
    images = agent.skill_images()
    assert images.shape == (CODES, *OBS) and images.min() >= 0 and images.max() <= 1
    batch = make_batch()
    torch.manual_seed(0)
    video = agent.report(batch)["openl_observation"]
    assert video.shape == (3, 6, 3, 192, 64)
    torch.testing.assert_close(video[..., :64, :], batch["observation"] / 255)
    with torch.no_grad():
        for p in agent.drives["skill"].method.decoder.parameters():
            p.zero_()  # all codes mean the same
    torch.manual_seed(0)
    other = agent.report(batch)["openl_observation"]
    assert torch.equal(other[..., :128, :], video[..., :128, :]) and not torch.equal(other, video)
    assert not torch.equal(video[..., 64:128, :], video[..., 128:, :])


def test_from_states_there_are_codes_but_no_images():
    config = agent_settings(tiny("pretrain", "agent=choreo", "configs=dmc_states"))
    agent = DreamerAgent(config, (24,), ACTIONS, phase="pretrain", device="cpu")
    batch = make_batch() | {"observation": torch.randn(3, 6, 24)}
    assert agent.update(batch).metrics["skill_reward_mean"].isfinite()
    assert agent.skill_images() is None and agent.report(batch) == {}
    assert agent.pilot.goals().shape == (CODES, 16)
    with pytest.raises(UserError, match="states"):
        agent.world_model.open_loop(batch["observation"], batch["action"], batch["is_first"])


# ---- fine-tuning: the phases of acting


def test_random_codes_until_there_were_frames_and_a_reward_then_the_controller():
    """``num_init_frames`` is 1000 here."""
    agent, memory = finetuning("agent.update_skill_every_step=3"), Remembered(quiet)
    assert agent.tries_skills and agent.recorded.dim == 0 and agent.shown.dim == CODES
    # 1: few frames, whatever was found
    before = copies(agent.main.behavior)
    agent.update(make_batch())
    assert learned(agent, before) == set()  # nobody knew of the reward yet
    assert "found by frame 500" in agent.adapt(500, memory) and agent.main.found.on
    losses = agent.update(make_batch()).losses
    assert {"selector_loss", "executor_loss", "critic_loss"} <= losses.keys()  # it learns already
    held = play(agent, "train")
    assert torch.equal(held[0], held[2]) and torch.equal(held[3], held[5])
    assert agent.tries_skills and agent.pilot.undecided
    # 3: both
    assert "controller" in agent.adapt(1000, memory) and agent.adapt(1010, memory) is None
    assert not agent.tries_skills
    with torch.no_grad():
        agent.main.behavior.selector[-1].bias.copy_(torch.tensor([-50.0, -50.0, 50.0, -50.0]))
    for mode in ("train", "eval"):
        assert (play(agent, mode) == torch.eye(CODES)[2]).all()


def test_frames_alone_are_not_enough():
    agent, memory = finetuning(), Remembered(quiet)
    for frame in (1000, 2000):
        before = copies(agent.main.behavior)
        assert set(agent.update(quiet()).losses) == {
            "kl_loss", "observation_loss", "reward_loss", "model_loss", "model_grad_norm",
        }  # fmt: skip
        assert agent.adapt(frame, memory) is None
        assert learned(agent, before) == set() and agent.tries_skills
    held = play(agent, "train")
    assert (held == held[0]).all()
    small = quiet()
    small["reward"][0, 3] = 1e-4  # not above it
    agent.update(small)
    assert agent.adapt(2010, memory) is None
    small["reward"][0, 3] = 2e-4
    agent.update(small)
    said = agent.adapt(2020, memory)
    assert "found" in said and "controller" in said and not agent.tries_skills


def test_draws_in_training_and_the_likeliest_in_evaluation():
    agent = started(finetuning())
    with torch.no_grad():
        agent.main.behavior.selector[-1].weight.zero_()
        agent.main.behavior.selector[-1].bias.copy_(torch.tensor([0.0, 0.5, 0.0, 0.0]))
    assert (play(agent, "eval", 8) == torch.eye(CODES)[1]).all()
    drawn = play(agent, "train", 40, 4)
    assert (drawn.sum((0, 1)) > 10).all()  # every code, a new one every step
    # the actions are the executor's under these codes
    first = torch.ones(2, dtype=torch.bool)
    action, after = agent.act(image(), agent.start(2), first, "eval")
    torch.testing.assert_close(action, agent.main.behavior.executor(after.memory.feat, after.skill).mean)


def test_a_code_that_is_looked_at_is_held_whoever_acts():
    for agent in (finetuning(), started(finetuning()), started(finetuning("mpc=true"))):
        agent.adapt(5000, Remembered(make_batch))
        acting = agent.start(2)._replace(skill=torch.eye(CODES)[[0, 3]])
        action, after = agent.act(image(), acting, torch.ones(2, dtype=torch.bool), "show")
        assert torch.equal(after.skill, acting.skill)
        torch.testing.assert_close(action, agent.main.behavior.executor(after.memory.feat, acting.skill).mean)


def test_planning_begins_with_the_controller_and_proposes_what_it_would_do(monkeypatch):
    agent = finetuning("mpc=true")
    agent.update(make_batch())
    agent.adapt(900, Remembered(make_batch))
    agent.adapt(999, Remembered(make_batch))
    assert not agent.planning
    agent.adapt(1000, Remembered(make_batch))
    agent.adapt(2000, Remembered(make_batch))
    assert agent.planning
    seen, rollout = [], agent.main.behavior._rollout
    monkeypatch.setattr(agent.main.behavior, "_rollout", lambda *given: (seen.append(rollout(*given)), seen[-1])[1])
    action, _ = agent.act(image(), agent.start(2), torch.ones(2, dtype=torch.bool), "train")
    assert action.abs().max() <= 1
    assert seen and seen[0].traj.skill.shape[-1] == CODES and "selector" in seen[0].decisions


def test_settled_facts_are_part_of_what_a_graph_is_for():
    agent = finetuning()
    keys = [agent.graph_key(None)]
    agent.update(make_batch())
    for frame in (500, 1000):
        agent.adapt(frame, Remembered(quiet))
        keys.append(agent.graph_key(None))
    assert len(set(keys)) == 3 and len({agent.graph_key("train"), finetuning().graph_key("train")}) == 2


# ---- what fine-tuning starts from


def trained(count=6):
    agent = pretraining()
    for seed in range(count):
        agent.update(make_batch(seed=seed))
    return agent


@pytest.mark.parametrize(("init_actor", "init_critic"), [(True, False), (False, True)])
def test_parts_of_the_snapshot(init_actor, init_critic):
    source, agent = trained(), finetuning(seed=9)
    fresh = {name: copies(agent.main.behavior.get_submodule(name)) for name in ("selector", "executor", "critic")}
    agent.load_snapshot(source.snapshot_modules(), init_actor=init_actor, init_critic=init_critic)
    skill, behavior = source.drives["skill"], agent.main.behavior
    for name in ("encoder", "rssm", "decoder"):
        assert not moved(getattr(agent.world_model, name), copies(getattr(source.world_model, name)))
    assert moved(agent.world_model.reward_head, copies(source.world_model.reward_head))
    assert bool(moved(behavior.executor, copies(skill.behavior.actor))) != init_actor
    assert bool(moved(behavior.executor, fresh["executor"])) == init_actor
    assert bool(moved(behavior.critic, copies(source.main.behavior.critic))) != init_critic
    assert not moved(behavior.selector, fresh["selector"])
    codes = dict(agent.main.codes.named_buffers())
    for name, value in skill.method.named_buffers():
        assert torch.equal(codes[name], value), name
    assert codes["codebook.mass"].unique().numel() > 1  # the running means came along
    assert not any(p.requires_grad for p in agent.main.codes.parameters())
    # a fine-tuned snapshot can be started from, too
    tuned = started(agent)
    tuned.update(make_batch())
    third = finetuning(seed=5)
    third.load_snapshot(tuned.snapshot_modules(), init_actor=True, init_critic=False)
    assert not moved(third.main.behavior.executor, copies(tuned.main.behavior.executor)) and not third.main.found.on


def test_a_snapshot_without_skills_is_refused():
    source = make_agent(tiny("pretrain", "agent=lbs_dreamer"))
    with pytest.raises(UserError, match=r"no skill_\w+, which agent=choreo"):
        finetuning().load_snapshot(source.snapshot_modules(), init_actor=True, init_critic=False)


def test_codes_of_another_size_are_refused():
    source = pretraining("agent.code_dim=3")
    with pytest.raises(UserError, match="skill_method does not fit"):
        finetuning().load_snapshot(source.snapshot_modules(), init_actor=True, init_critic=False)


@pytest.mark.parametrize("make", [pretraining, finetuning])
def test_a_resumed_agent_goes_on_bit_for_bit(make):
    agent, other = make(), make(seed=9)
    for seed in range(6):  # past the first replacement of codes
        agent.update(make_batch(seed=seed))
        agent.adapt(1000 + seed, Remembered(make_batch))
    other.load_training_state(agent.training_state())
    for one in (agent, other):
        torch.manual_seed(3)
        one.update(make_batch(seed=7))
    assert not moved(other, copies(agent)) and other.graph_key("train") == agent.graph_key("train")
    for (name, value), (_, twin) in zip(agent.named_buffers(), other.named_buffers(), strict=True):
        assert torch.equal(value, twin), name


# ---- sizes


@pytest.mark.parametrize(
    ("kind", "shape", "actions", "model"),
    [("dmc_states", (24,), 6, 3_470_073), ("dmc_pixels", (3, 64, 64), 6, 13_656_772)],
)
def test_parameters_at_published_sizes(kind, shape, actions, model):
    def agent(phase):
        config = composed(phase, "agent=choreo", f"configs={kind}", "device=cpu", "domain=walker")
        with torch.device("meta"):
            return DreamerAgent(agent_settings(config), shape, actions, phase=phase, device="meta")

    made = agent("pretrain")
    assert parameter_count(made.world_model) == model
    skill, main = made.drives["skill"], made.main
    sizes = {
        "skills": (skill.method, 1_142_616),
        "explorer": (main.behavior.actor, 976_012),
        "explorer's critic": (main.behavior.critic, 971_601),
        "skill actor": (skill.behavior.actor, 1_001_612),
        "skill critic": (skill.behavior.critic, 997_201),
        "LBS": (main.method, 971_601),
    }
    behavior = agent("finetune").main.behavior
    sizes |= {
        "selector": (behavior.selector, 996_864),
        "executor": (behavior.executor, 1_001_612),
        "controller's critic": (behavior.critic, 971_601),
    }
    assert {name: parameter_count(module) for name, (module, _) in sizes.items()} == {
        name: count for name, (_, count) in sizes.items()
    }
    assert actions == ACTIONS


# ---- settings


def test_reference_restores_the_published_choices():
    found, want = (typed("finetune", "agent=choreo", f"agent.reference={flag}").agent for flag in ("true", "false"))
    assert (found.published_ema, want.published_ema) == (True, False)
    assert (found.entropy_in_targets, want.entropy_in_targets) == (True, False)
    assert (found.grad_heads, want.grad_heads) == (["decoder"], ["decoder", "reward"])
    assert not found.decoder_elu_output and found.reward_norm.momentum == 1 and found.actor_ent == 1e-4
    pretrain = typed("pretrain", "agent=choreo").agent
    assert (pretrain.grad_heads, pretrain.actor_ent, pretrain.reward_norm.momentum) == (["decoder"], 0.0, 0.95)
    assert typed("pretrain", "agent=choreo").num_skill_videos == 64
    assert typed("pretrain", "agent=dreamer").num_skill_videos == 16


@pytest.mark.parametrize(
    "override",
    [
        "skill_dim=1", "code_dim=0", "code_layers=0", "code_units=0", "commitment=-1", "code_decay=2",
        "code_resampling=1", "resample_every=0", "published_ema=no", "knn_k=0", "knn_rms=1", "knn_avg=no",
        "knn_clip=x", "knn_self=2", "skill_reward_norm.momentum=2", "skill_actor_ent=-1", "update_skill_every_step=0",
        "num_init_frames=-1", "freeze_skills=1", "task_grad_heads=actor", "num_skill_videos=0", "lbs_layers=0",
    ],
)  # fmt: skip
def test_bad_values_are_named(override):
    with pytest.raises(UserError) as refused:
        typed("pretrain", "agent=choreo", f"agent.{override}")
    assert str(refused.value).startswith(f"agent.{override} is not allowed")


@pytest.mark.parametrize(
    ("script", "overrides", "told"),
    [
        ("finetune", ["snapshot_ts=0"], ["snapshot_ts=0", "agent=choreo", "agent=dreamer"]),
        ("finetune", ["retain.anchor=2.0"], ["retain.anchor=2.0", "agent=choreo", "agent.freeze_skills=true"]),
        ("pretrain", ["agent.knn_k=400", "batch_size=2", "batch_length=10"], ["agent.knn_k=400", "agent.knn_k=320"]),
        ("pretrain", ["agent.method=agents.exploration.diayn.DIAYN"], ["agents.exploration.diayn.DIAYN", "skill_dim"]),
        ("pretrain", ["agent.drives=agents.choreographer.setup.Explorer"], ["agents.choreographer.setup.Explorer"]),
        ("pretrain", ["agent.drives=3"], ["agent.drives=3"]),
        ("pretrain", ["+agent.codes=3"], ["agent.codes=3"]),
    ],
)
def test_what_does_not_go_together_is_refused(script, overrides, told):
    with pytest.raises(UserError) as refused:
        typed(script, "agent=choreo", *overrides)
    assert all(word in str(refused.value) for word in told), str(refused.value)
