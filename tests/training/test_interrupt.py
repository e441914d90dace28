"""Ctrl-C and SIGTERM: what they wait for, what they say, and that a run goes on from there bit for bit."""

import os
import signal

import pytest
from drq_run_kit import QUIET, settings
from kill_kit import assert_same_runs
from run_kit import BLIND, SHORT
from settings_kit import compose_settings

from entry.start import launch
from training.checkpoint import load
from training.interrupt import StopSignal
from training.learner import Learner
from training.run import CHECKPOINT

OWED = (*SHORT, *BLIND, "snapshots=[]", "train_every_actions=50", "num_seed_frames=200", "num_train_frames=1060")


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_first_signal_says_what_it_waits_for(capfd):
    with StopSignal(lambda: "this update (about 20 s)") as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received
    said = capfd.readouterr().err
    assert "SIGINT" in said and "this update (about 20 s)" in said and "once more" in said


def stop_in(monkeypatch, update):
    """Ctrl-C in the middle of update number ``update`` (from 1) of this process."""
    original, made = Learner.update, []

    def updating(self):
        made.append(0)
        if len(made) == update:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    monkeypatch.setattr(Learner, "update", updating)


def stopped(config, folder, script, monkeypatch, update, *, resume=True):
    """Counters of the checkpoint of a run that is stopped in ``update``, and then resumed to its end if asked."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(patch, update)
        launch(config, folder, script)
    counters = load(folder / CHECKPOINT, "checkpoint")["counters"]
    if resume:
        launch(config, folder, script, resume=True)
    return counters


def test_a_stop_among_several_updates_waits_for_one_and_a_resumed_run_makes_the_others(tmp_path, monkeypatch, capfd):
    """Seven updates a step: the third of the second step is the tenth."""
    config = settings("num_train_steps=206", "num_skills=0", "num_train_iters=7", "eval_frequency=1000", *QUIET)
    launch(config, tmp_path / "whole", "drq")
    counters = stopped(config, tmp_path / "stopped", "drq", monkeypatch, 10)
    assert (counters["step"], counters["updates"]) == (201, 10)
    assert "this update" in capfd.readouterr().err
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped")


def test_a_stop_in_the_last_update_of_a_step_finishes_the_step(tmp_path, monkeypatch):
    config = settings("num_train_steps=206", "num_skills=0", "num_train_iters=7", "eval_frequency=1000", *QUIET)
    counters = stopped(config, tmp_path / "stopped", "drq", monkeypatch, 7, resume=False)
    assert (counters["step"], counters["updates"], counters["updates_owed"]) == (201, 7, 0)


@pytest.mark.parametrize("overlap", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_stop_while_updates_are_made_up_for(tmp_path, monkeypatch, capfd, overlap):
    """The first episode ends long after the seed frames: 17 updates are due by then. With a step in flight all are
    made, and the user is told how many.
    """
    config = compose_settings("pretrain", *OWED, f"collect.async={str(overlap).lower()}")
    launch(config, tmp_path / "whole", "pretrain")
    capfd.readouterr()
    counters = stopped(config, tmp_path / "stopped", "pretrain", monkeypatch, 4)
    assert counters["updates"] == (17 if overlap else 4)
    assert ("the 14 updates of this step" if overlap else "this update") in capfd.readouterr().err
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped")
