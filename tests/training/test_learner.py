"""An update with a NaN or infinite loss is taken back, whole."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_kit import differing
from run_kit import AGENTS, DEBUG
from settings_kit import agent_settings
from sweep_kit import in_turn

import training.learner
from agents.agent import Updated
from agents.dreamer.behavior import Behavior
from agents.dreamer.world_model import WorldModel
from agents.nn.optimizer import Optimizer
from entry.start import launch
from training.checkpoint import load
from training.learner import Learner, NumericalFault, find_fault
from training.off_policy import OffPolicyRun
from training.parts import build_agent
from training.run import CHECKPOINT
from utils.errors import UserError
from utils.nested import tensors_in


class Batches:
    """Stands for a replay: random batches, and a sampler whose state is a seed."""

    class Sampler:
        state = 1

    def __init__(self, config, skills):
        self.sampler = self.Sampler()
        self.shape = config["batch_size"], config["batch_length"]
        self.skills = skills

    def sample(self):
        generator = torch.Generator().manual_seed(self.sampler.state)
        self.sampler.state += 1
        first = torch.zeros(self.shape, dtype=torch.bool)
        first[:, 0] = True
        index = torch.randint(max(self.skills, 1), self.shape, generator=generator)
        return {
            "observation": torch.randint(0, 256, (*self.shape, 3, 64, 64), generator=generator, dtype=torch.uint8),
            "action": torch.rand(*self.shape, 6, generator=generator) * 2 - 1,
            "reward": torch.rand(self.shape, generator=generator),
            "is_first": first,
            "skill": torch.nn.functional.one_hot(index, max(self.skills, 1)).float()[..., : self.skills],
            "skill_valid": ~first,
        }


def make_learner(settings, agent, script):
    config = settings(script, *DEBUG, f"agent={agent}") | {"domain": "walker"}
    torch.manual_seed(0)
    built = build_agent(agent_settings(config), (3, 64, 64), 6, script, torch.device("cpu"))
    return Learner(built, Batches(config, built.skill_dim))


def planted(function, value):
    """``function``, whose loss (its result, or the first part of it) is ``value``; gradients are as bad."""

    def bad(*args, **kwargs):
        result = function(*args, **kwargs)
        return (result[0] * value, *result[1:]) if isinstance(result, tuple) else result * value

    return bad


@pytest.mark.parametrize(("agent", "script", "before"), in_turn(AGENTS, ("pretrain", "finetune"), (0, 2, 2, 0)))
def test_a_faulty_update_leaves_nothing_behind(settings, monkeypatch, agent, script, before):
    learner, twin = make_learner(settings, agent, script), make_learner(settings, agent, script)
    torch.manual_seed(1)
    for _ in range(before):
        learner.update()
    state, sampler = deepcopy(learner.agent.training_state()), learner.replay.sampler.state
    random = torch.get_rng_state()
    choosing = script == "finetune" and learner.agent.main.waits
    trains_actor = learner.agent.main.trains and not choosing
    # the loss that is computed last: everything else has been stepped by then
    owner, name, metric = (
        (Behavior, "_actor_loss", "actor_loss") if trains_actor else (WorldModel, "loss", "model_grad_norm")
    )
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, planted(getattr(owner, name), math.nan))
        with pytest.raises(NumericalFault) as caught:
            learner.update()
    assert caught.value.metric == metric and math.isnan(caught.value.value)
    assert differing(learner.agent.training_state(), state) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert learner.replay.sampler.state == sampler

    learner.update()
    after = deepcopy(learner.agent.training_state())
    torch.manual_seed(1)
    for _ in range(before + 1):
        twin.update()
    assert differing(after, twin.agent.training_state()) == []
    assert differing(after, state)


def test_what_is_kept_is_copied_in_groups_of_one_kind(settings, monkeypatch):
    """On a GPU a group takes a few kernels, one of several kinds a copy for each tensor."""
    learner = make_learner(settings, "deviation_dreamer", "pretrain")
    groups, copy = [], torch._foreach_copy_
    monkeypatch.setattr(torch, "_foreach_copy_", lambda into, of: groups.append(into) or copy(into, of))
    learner._kept.store()
    assert len(groups) == 2 and all(len({x.dtype for x in group}) == 1 for group in groups)
    assert sum(map(len, groups)) == len(list(tensors_in(learner.agent.training_state())))


def test_an_update_would_not_take_itself_back(settings, monkeypatch):
    """What the test above relies on: without the copy, a faulty update spoils the agent."""
    learner = make_learner(settings, "dreamer", "pretrain")
    learner.update()
    state = deepcopy(learner.agent.training_state())
    monkeypatch.setattr(Behavior, "_actor_loss", planted(Behavior._actor_loss, math.nan))
    monkeypatch.setattr(training.learner.Kept, "put_back", lambda self: None)
    with pytest.raises(NumericalFault):
        learner.update()
    spoilt = differing(learner.agent.training_state(), state)
    assert any("world_model" in key for key in spoilt) and any("actor" in key for key in spoilt)


def test_the_first_bad_loss_is_named_whatever_it_is_called():
    def fault(**values):
        return find_fault({key: torch.tensor(value) for key, value in values.items()})

    assert fault() is None and fault(surprise=1.0, norm=2.0) is None
    found = fault(model=1.0, surprise=math.inf, surprise_norm=math.nan, actor_loss=math.nan)
    assert found is not None and (found.metric, found.value) == ("surprise", math.inf)
    found = fault(model=1.0, norm=-math.inf)
    assert found is not None and str(found) == "norm is -inf"


class Named:
    """An agent that names its loss and its metrics as it likes."""

    def __init__(self, loss, metric):
        self.weight, self.device, self.updates = torch.zeros(()), torch.device("cpu"), 0
        self.found = Updated({"energy": torch.tensor(loss)}, {"gap_loss": torch.tensor(metric)})

    def update(self, batch):
        self.weight += 1
        self.updates += 1
        return self.found

    def training_state(self):
        return {"weight": self.weight}


def test_what_must_be_finite_is_a_field_and_not_a_matter_of_names(settings):
    batches = Batches(settings("pretrain", *DEBUG), 0)
    calm = Named(1.0, math.nan)
    assert Learner(calm, batches).update() is calm.found and calm.weight == calm.updates == 1
    wild = Named(math.nan, 1.0)
    with pytest.raises(NumericalFault) as caught:
        Learner(wild, batches).update()
    assert caught.value.metric == "energy" and wild.weight == wild.updates == 0


def test_adam_states_made_ahead_are_adams_own():
    torch.manual_seed(0)
    ours, plain = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    plain.load_state_dict(ours.state_dict())
    optimizer = Optimizer(ours.parameters(), lr=1e-2, clip=1e9, wd=1e-3)
    adam = torch.optim.AdamW(plain.parameters(), lr=1e-2, eps=1e-5, weight_decay=1e-1, fused=True)
    for _ in range(3):
        x = torch.randn(5, 4)
        optimizer.step(ours(x).square().mean())
        adam.zero_grad()
        plain(x).square().mean().backward()
        adam.step()
    assert differing(optimizer.state_dict(), adam.state_dict()) == []
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


# ---- whole runs


def faulty(monkeypatch, when):
    """The actor's loss is NaN in the updates for which ``when(number)`` holds."""
    original = Behavior._actor_loss
    seen = []

    def sometimes(self, *args):
        loss = original(self, *args)
        seen.append(len(seen))
        return loss * math.nan if when(seen[-1]) else loss

    monkeypatch.setattr(Behavior, "_actor_loss", sometimes)


@pytest.fixture
def config(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return settings(
        "finetune", *DEBUG, "snapshot_ts=0", "num_train_frames=1510", "evaluate=false", "checkpoint_every_minutes=60"
    )


def weights(run: OffPolicyRun):
    return run.agent.training_state()["modules"]


def test_a_run_stops_with_the_state_before_and_goes_on_from_it(config, tmp_path, monkeypatch):
    whole = launch(config, tmp_path / "whole", "finetune")
    assert whole.updates > 20
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        faulty(patch, lambda number: number == 12)
        launch(config, tmp_path / "run", "finetune")
    message = str(caught.value)
    frame = 1000 + 12 * config["train_every_actions"]
    assert f"actor_loss is nan in update 12 (frame {frame})" in message
    assert "on_nan=skip" in message and f"resume={tmp_path / 'run'}" in message
    stored = load(tmp_path / "run" / CHECKPOINT, "checkpoint")
    assert stored["counters"]["updates"] == stored["agent"]["updates"] == 12
    assert all(torch.isfinite(value).all() for value in stored["agent"]["modules"].values())
    # the cause is gone: the run ends as if nothing had happened
    resumed = launch(config, tmp_path / "run", "finetune", resume=True)
    assert differing(weights(resumed), weights(whole)) == []
    assert resumed.counters == whole.counters
    assert np.array_equal(resumed.replay.episodes, whole.replay.episodes)


def test_a_run_can_go_on_without_faulty_updates(config, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(UserError):
        faulty(patch, lambda number: number == 3)
        launch(config, tmp_path / "run", "finetune")
    with monkeypatch.context() as patch:
        faulty(patch, lambda number: number in (0, 9, 10))  # the same batch again, and two more
        run = launch(config | {"on_nan": "skip"}, tmp_path / "run", "finetune", resume=True)
    assert (run.updates, run.counters.skipped, run.counters.updates_owed) == (23, 3, 0)
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    told = [line for line in capsys.readouterr().out.splitlines() if "on_nan=skip" in line]
    assert len(told) == 3 and told[-1].startswith("note: actor_loss is nan in update 11 ")


def test_an_agent_that_cannot_learn_any_more_does_not_go_on(config, tmp_path, monkeypatch):
    faulty(monkeypatch, lambda number: number >= 5)
    with pytest.raises(UserError, match=r"\b4\b") as caught, monkeypatch.context() as patch:
        patch.setattr("training.run.MOST_SKIPS", 4)
        launch(config | {"on_nan": "skip"}, tmp_path / "run", "finetune")
    assert "actor_loss is nan in update 5" in str(caught.value)
    assert load(Path(tmp_path / "run" / CHECKPOINT), "checkpoint")["counters"]["updates"] == 5
