"""Runs of ``drq_train.py`` that are killed, stopped, made longer or go wrong, and go on."""

import functools
import os
import signal

import pytest
import torch
from drq_run_kit import QUIET, SEED_STEPS, SKILLS, assert_same, same_weights, settings, table, weights
from kill_kit import Killed, kill_at
from sweep_kit import in_turn

from agents.drq.agent import DrQAgent
from entry.start import launch
from training import evaluators
from training.checkpoint import load, save
from training.off_policy import OffPolicyRun
from training.run import CHECKPOINT
from utils.errors import UserError


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """``ended(number of skills)``: a run that nothing disturbs, its folder and a batch that it draws."""

    @functools.cache
    def made(num_skills):
        folder = tmp_path_factory.mktemp(f"ended_{num_skills}") / "run"
        run = launch(to_be_killed(num_skills), folder, "drq")
        return run, folder, run.replay.sample()["observation"]

    return made


def to_be_killed(num_skills):
    return settings("num_train_steps=380", f"num_skills={num_skills}", *QUIET)


@pytest.mark.parametrize(("checkpoint_at", "num_skills"), [*in_turn((240, 300), (3, 0)), *in_turn((None,), (0, 3))])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(
    tmp_path, monkeypatch, ended, num_skills, checkpoint_at
):
    """From before rows, videos and models that must be written again, in mid-episode, or from nothing."""
    config = to_be_killed(num_skills)
    whole, whole_dir, drawn = ended(num_skills)
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == checkpoint_at)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 120)
        launch(config, tmp_path / "killed", "drq")
    assert len(table(tmp_path / "killed" / "episodes.csv")) == 2 + 2 * max(num_skills, 1)
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert_same(whole, resumed, whole_dir, tmp_path / "killed", drawn)
    assert len(table(tmp_path / "killed" / "episodes.csv")) == 3 + 2 * max(num_skills, 1)
    assert all(float(row["duration"]) > 0 for row in table(tmp_path / "killed" / "train.csv"))


def test_with_kornia_a_killed_run_is_bit_for_bit_the_uninterrupted_one_too(tmp_path, monkeypatch):
    config = settings(
        "num_train_steps=310", "num_skills=0", "augmentation=[shift,rotation,{RandomErasing:{p:0.5}}]", *QUIET
    )
    whole = launch(config, tmp_path / "whole", "drq")
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 260)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 80)
        launch(config, tmp_path / "killed", "drq")
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert_same(whole, resumed, tmp_path / "whole", tmp_path / "killed", whole.replay.sample()["observation"])


def test_a_duration_goes_on_after_a_resume(tmp_path, monkeypatch):
    """Seconds of an episode: those before the kill up to the checkpoint, and those after the resume; no others."""
    config = settings("num_train_steps=380", "eval_frequency=100000", *QUIET)
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 300)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 120)
        launch(config, tmp_path / "run", "drq")
    path = tmp_path / "run" / CHECKPOINT
    content = load(path, "checkpoint")
    assert 0 < content["own"]["episode_seconds"] < content["logger"]["elapsed"]
    content["own"]["episode_seconds"] = 1000.0
    save(path, "checkpoint", {key: content[key] for key in content if key not in ("format", "kind", "commit")})
    launch(config, tmp_path / "run", "drq", resume=True)
    last = [row for row in table(tmp_path / "run" / "episodes.csv") if row["type"] == "train"][-1]
    assert 1000 < float(last["duration"]) < 1100


def test_an_evaluation_that_ctrl_c_cuts_short_is_made_again(tmp_path, monkeypatch):
    config = settings("num_train_steps=260", *QUIET)
    whole = launch(config, tmp_path / "whole", "drq")
    original, calls = evaluators.play, []

    def play(*arguments, **options):
        calls.append(0)
        if len(calls) == SKILLS + 2:  # the second skill of the second evaluation
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluators, "play", play)
        launch(config, tmp_path / "stopped", "drq")
    assert len(table(tmp_path / "stopped" / "eval.csv")) == 1
    assert len(table(tmp_path / "stopped" / "episodes.csv")) == SKILLS + 2
    resumed = launch(config, tmp_path / "stopped", "drq", resume=True)
    assert_same(whole, resumed, tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_run_and_one_that_is_made_longer(tmp_path, capsys):
    config, folder = settings("num_train_steps=210", "num_skills=0", *QUIET), tmp_path / "run"
    launch(config, folder, "drq")
    before = (folder / "models/final_model.pt").stat().st_mtime_ns
    launch(config, folder, "drq", resume=True)
    assert "is finished" in capsys.readouterr().out
    assert (folder / "models/final_model.pt").stat().st_mtime_ns == before
    longer = launch(config | {"num_train_steps": 220}, folder, "drq", resume=True)
    final = load(folder / "models/final_model.pt", "snapshot")
    assert final["step"] == 220
    assert same_weights(final["modules"]["critic"], longer.agent.critic.state_dict())


def test_an_update_that_is_no_number_stops_the_run_or_is_left_out(tmp_path, monkeypatch):
    original, before = DrQAgent.update, {}

    def poisoned(self, batch):
        here = self.updates
        if here == 20 and not before:
            before.update({key: value.clone() for key, value in self.training_state()["modules"].items()})
        updated = original(self, batch)
        if here == 20 and poisoned.times > 0:
            poisoned.times -= 1
            updated.losses["critic_loss"] = torch.tensor(float("nan"))
        return updated

    poisoned.times = 2
    monkeypatch.setattr(DrQAgent, "update", poisoned)
    config = settings("num_train_steps=240", *QUIET)
    with pytest.raises(UserError, match=r"critic_loss .*nan\b.*\b20\b.*on_nan=skip"):
        launch(config, tmp_path / "run", "drq")
    content = load(tmp_path / "run" / CHECKPOINT, "checkpoint")
    assert content["agent"]["updates"] == 20 and content["counters"]["step"] == SEED_STEPS + 20
    assert same_weights(content["agent"]["modules"], before)
    run = launch(config | {"on_nan": "skip"}, tmp_path / "run", "drq", resume=True)
    assert (run.counters.skipped, run.updates, run.agent.updates, run.step) == (1, 39, 39, 240)
    assert all(torch.isfinite(value).all() for value in weights(run).values())
