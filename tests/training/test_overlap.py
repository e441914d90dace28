"""Environments in processes of their own, and steps that go on while the agent learns, in whole runs."""

import math
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from fork_kit import Program, run
from kill_kit import assert_same_runs, rows
from omegaconf import OmegaConf
from run_kit import BLIND, DEBUG, SHORT
from settings_kit import compose_settings

from agents.dreamer.behavior import Behavior
from entry.start import launch
from training.checkpoint import load
from training.collector import Collector
from training.off_policy import OffPolicyRun
from training.run import CHECKPOINT
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# updates from step 200 on, when the first episodes have ended
LATE = ("train_every_actions=50", "num_train_frames=5000", "replay.capacity=3000")
TWO = (*SHORT, *BLIND, *LATE, "snapshots=[]", "num_envs=2")


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert multiprocessing.active_children() == []


def weights(run):
    return run.agent.training_state()["modules"]


def assert_same_agents(left, right):
    assert left.updates == right.updates > 5
    for name, value in weights(left).items():
        assert torch.equal(value, weights(right)[name]), name


def at_step(monkeypatch, step, do, method="begin_step"):
    """``do(collector)`` right after the first call of ``method`` from agent step ``step`` of a run on."""
    original, iterate, now = getattr(Collector, method), OffPolicyRun.iterate, []

    def iterating(self):
        now[:] = [self.step]
        iterate(self)

    def doing(self, *arguments):
        found = original(self, *arguments)
        if now[0] >= step:
            do(self)
        return found

    monkeypatch.setattr(OffPolicyRun, "iterate", iterating)
    monkeypatch.setattr(Collector, method, doing)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A run with two environments in this process, and its folder."""
    folder = tmp_path_factory.mktemp("usual") / "run"
    return launch(compose_settings("pretrain", *TWO, "collect.workers=false"), folder, "pretrain"), folder


def test_workers_change_no_number_also_when_one_dies_and_the_run_is_resumed(settings, usual, tmp_path, monkeypatch):
    """Two environments are in workers unless one says otherwise."""
    config = settings("pretrain", *TWO, "checkpoint_every_minutes=0")
    run, folder = usual

    def kill_one(collector):
        os.kill(collector.envs.processes[1].pid, signal.SIGKILL)
        collector.envs.processes[1].join()

    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        at_step(patch, 300, kill_one)
        launch(config, tmp_path / "run", "pretrain")
    said = str(caught.value)
    assert said.startswith("environment 1 (of 0 to 1) has lost its process (ended by SIGKILL")
    assert said.endswith(f"The last checkpoint stands; go on with resume={tmp_path / 'run'}")
    assert load(tmp_path / "run" / CHECKPOINT, "checkpoint")["counters"]["step"] == 200
    resumed = launch(config, tmp_path / "run", "pretrain", resume=True)
    assert_same_agents(run, resumed)
    assert rows(folder / "train.csv") == rows(tmp_path / "run" / "train.csv")


def test_an_overlapping_run_acts_first_and_repeats_itself(settings, usual, tmp_path):
    config = settings("pretrain", *TWO, "collect.async=true")
    one, two = (launch(config, tmp_path / name, "pretrain") for name in ("one", "two"))
    assert_same_agents(one, two)
    assert_same_runs(tmp_path / "one", tmp_path / "two")
    run, folder = usual
    assert one.updates == run.updates
    assert any(not torch.equal(value, weights(run)[name]) for name, value in weights(one).items())
    # of episodes that end together the first has the means
    late = [float(row["policy_lag"]) for row in rows(tmp_path / "one" / "train.csv") if row["policy_lag"]]
    assert late and all(lag > 0 for lag in late)
    assert all("policy_lag" not in row for row in rows(folder / "train.csv"))


def test_an_exception_while_the_environments_step_ends_the_run_and_their_processes(settings, tmp_path, monkeypatch):
    class Stop(BaseException):
        """As KeyboardInterrupt, which pytest would take for its own."""

    def stop(collector):
        assert collector.in_flight
        raise Stop

    at_step(monkeypatch, 40, stop)
    with pytest.raises(Stop):
        launch(settings("pretrain", *TWO, "collect.async=true"), tmp_path / "run", "pretrain")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_loss_that_is_nan_is_a_checkpoint_of_whole_steps(settings, tmp_path, monkeypatch):
    """The run goes on from it, and makes the updates that were due."""
    config = settings("pretrain", *TWO, "collect.async=true") | {"num_train_frames": 2400}
    loss = Behavior._actor_loss

    def bad(self, *arguments, **more):
        found = loss(self, *arguments, **more)
        return (found[0] * math.nan, *found[1:]) if isinstance(found, tuple) else found * math.nan

    with monkeypatch.context() as patch, pytest.raises(UserError, match="on_nan=skip"):
        patch.setattr(Behavior, "_actor_loss", bad)
        launch(config, tmp_path / "run", "pretrain")
    kept = load(tmp_path / "run" / CHECKPOINT, "checkpoint")["counters"]
    # due at steps 100, 105, ..., and owed until the first episodes had ended: the step after that was in flight
    assert (kept["step"], kept["updates"], kept["updates_owed"]) == (202, 0, 21)
    resumed = launch(config, tmp_path / "run", "pretrain", resume=True)
    assert (resumed.step, resumed.updates) == (240, 28)


def test_drq_learns_beside_several_environments(settings, tmp_path):
    """One update per agent step, so two for a step of both environments; the first makes up for those owed."""
    few = (*DEBUG, "save_video=false", "eval_frequency=1000")
    config = settings("drq", *few, "num_envs=2", "collect.async=true", "num_train_steps=510", "num_skills=2")
    run = launch(config, tmp_path / "run", "drq")
    assert (run.step, run.updates) == (510, 310)  # after 200 seed steps
    both = rows(tmp_path / "run" / "train.csv")
    # two episodes of 125 steps, twice; the first without updates
    assert [row["step"] for row in both] == ["500", "500"]
    assert float(both[0]["policy_lag"]) == pytest.approx((300 - 2) / 125, abs=0.05)
    kinds = [row["type"] for row in rows(tmp_path / "run" / "episodes.csv")]
    assert kinds.count("train") == 4


def test_ctrl_c_in_a_terminal_finishes_the_step_and_the_run_resumes(tmp_path):
    """The terminal sends it to every process of the group; the time-out may be changed on resume."""
    folder, script = tmp_path / "run", ROOT / "dreamer_pretrain.py"
    words = [*TWO, "num_train_frames=1000000", "collect.async=true", f"hydra.run.dir={folder}"]
    program = Program(script, *words, cwd=tmp_path, session=True)
    deadline = time.monotonic() + 120
    while not list((folder / "replay").glob("stream_1/*")) and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=100)
    assert program.returncode == 130 and "Traceback" not in errors, errors
    step = load(folder / CHECKPOINT, "checkpoint")["counters"]["step"]
    assert step > 0
    more = [f"resume={folder}", f"num_train_frames={10 * step + 20}", "collect.timeout=90"]
    done = run(script, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = OmegaConf.load(folder / "config.yaml")
    assert stored.collect.timeout == 90 and stored.collect["async"] and "collect.timeout" not in stored
