"""The published schedule: when updates, snapshots, evaluations and log rows happen."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from settings_kit import typed

from agents.agent import Updated
from training.clock import Clock
from training.interrupt import StopSignal
from training.off_policy import OffPolicyRun
from training.run import Counters
from training.work import Work
from utils.schedule import crossed, times_due

EPISODE_STEPS = 500


class Recorder(OffPolicyRun):
    """A run whose environments, agent and files are replaced by records of when they were used."""

    def __init__(self, phase, *overrides):
        self.settings = typed(phase, *overrides)
        self.schedule, self.run_dir, self.final = self.settings.schedule, Path(), None
        self.clock = Clock("num_train_frames", "frames", self.schedule.steps, self.settings.action_repeat)
        self.agent = SimpleNamespace(
            collects="train", skill_dim=0, adapt=lambda frame, sample: self.asked.append(frame)
        )
        self.learner = SimpleNamespace(update=lambda: Updated({}, {}))
        self.replay = SimpleNamespace(checkpoint_due=False, ready=False, sample=dict)
        self.logger = SimpleNamespace(
            elapsed=0.0,
            tick=lambda frame: None,
            follow=lambda says: None,
            log_metrics=lambda *_: self.happened.append("update"),
            log=lambda key, value, prefix: self.lags.append(value),
        )
        self.lags = []
        self.counters, self.stop = Counters(evaluation_due=self.schedule.evaluate_every is not None), StopSignal()
        self.work = Work()
        self.outlook = SimpleNamespace(look=lambda: None, left=SimpleNamespace(changed=lambda: None))
        self.stage = None
        self.evaluator = SimpleNamespace(show=lambda stage: None)
        self.episode_log = SimpleNamespace(add=lambda stage, replay, episode: None)
        self.snapshots, self.evaluated, self.modes, self.checkpoints = [], [], [], []
        self.asked = []
        self._saved_at, self._faults_in_a_row = 0.0, 0
        self.collector = SimpleNamespace(
            step=self._collect, begin_step=self._begin_step, finish_step=self._finish_step, in_flight=False
        )
        self.happened = []

    def _begin_step(self, mode):
        self.happened.append("act")
        self.collector.in_flight, self.mode = True, mode

    def _finish_step(self):
        self.happened.append("wait")
        self.collector.in_flight = False
        return self._collect(self.mode)

    def _collect(self, mode):
        if not self.modes or self.modes[-1][1] != mode:
            self.modes.append((self.step, mode))
        envs = self.settings.num_envs
        ended = (self.step // envs + 1) % EPISODE_STEPS == 0
        self.replay.ready |= ended
        return [SimpleNamespace(reward=0.0, length=1000)] * envs if ended else []

    def _watch(self, before, after):
        pass

    def evaluate_if_due(self):
        if self.counters.evaluation_due:
            self.evaluated.append(self.frame)
            self.counters.evaluation_due = False

    def save_snapshot(self, path):
        assert not self.collector.in_flight
        self.snapshots.append((path.name, self.updates, self.counters.episode))

    def save_checkpoint(self):
        assert not self.collector.in_flight
        self.checkpoints.append(self.step)


def test_pretraining_makes_9600_updates_before_the_100k_snapshot():
    run = Recorder("pretrain", "num_train_frames=100010")
    run.run()
    assert run.asked == list(range(1000, 100_010, 2))  # before every step, from the first finished episode on
    assert run.snapshots == [("snapshot_100000.pt", 9600, 100)]
    assert run.modes == [(0, "random"), (2000, "train")]
    assert run.evaluated == []


def test_in_step_with_learning_actions_come_first_and_all_else_is_where_it_was():
    frames = ("num_train_frames=20010", "snapshots=[10000,20000]", "checkpoint_every_minutes=0", "num_envs=2")
    run = Recorder("pretrain", *frames, "collect.async=true")
    run.run()
    usual = Recorder("pretrain", *frames)
    usual.run()
    for name in ("modes", "asked", "snapshots", "evaluated", "checkpoints", "updates", "step"):
        assert getattr(run, name) == getattr(usual, name), name
    assert "act" not in usual.happened and usual.lags == []
    assert run.happened.count("act") == run.happened.count("wait") == run.step / 2
    between = [set(part.split()) for part in " ".join(run.happened).split("act")[1:]]
    assert all(part <= {"update", "wait"} for part in between)
    assert all(part.split()[-1] == "wait" for part in " ".join(run.happened).split("act")[1:])
    # one update per 5 agent steps, two of which are one step of both environments; the first makes up for those owed
    assert sum(run.lags) == run.updates and set(run.lags[1:]) == {0, 1}
    assert abs(sum(run.lags[1:]) / len(run.lags[1:]) - 0.4) < 0.01


def test_two_million_frames_make_199600_updates():
    config = typed("pretrain")
    steps, period = config.schedule.steps - 5, config.schedule.update_every
    assert times_due(2000 - 1, steps - 1, period) == 199_600
    assert times_due(2000 - 1, 50_000 - 1, period) == 9_600
    assert config.snapshots == [100_000, 500_000, 1_000_000, 2_000_000]


def test_finetuning_evaluates_every_10k_frames_and_samples_the_actor_from_the_start():
    run = Recorder("finetune")
    run.run()
    assert run.evaluated == list(range(0, 100_001, 10_000))
    assert run.modes == [(0, "train")]
    assert run.step == 50_005


def test_a_snapshot_is_written_when_its_mark_is_crossed_and_not_only_when_it_is_hit():
    run = Recorder("pretrain", "num_train_frames=5000", "snapshots=[1002,1004,4000]", "num_envs=3")
    run.run()
    assert [name for name, _, _ in run.snapshots] == ["snapshot_1002.pt", "snapshot_1004.pt", "snapshot_4000.pt"]


@pytest.mark.parametrize("envs", [1, 2, 3, 4, 7, 16, 64])
def test_the_ratio_of_updates_to_frames_does_not_depend_on_the_number_of_environments(envs):
    run = Recorder("pretrain", "num_train_frames=100000", f"num_envs={envs}")
    run.run()
    # with many environments the first episodes end long after the seed frames; the updates due by then are made up for
    assert abs(run.updates - 9600) <= envs // 5 + 1


def test_checkpoints_at_every_episode_end_when_asked():
    run = Recorder("pretrain", "num_train_frames=3010", "checkpoint_every_minutes=0")
    run.run()
    assert run.checkpoints == [500, 1000, 1500, 1505]


def test_counting_of_periods():
    assert [times_due(before, before + 1, 5) for before in range(-1, 6)] == [1, 0, 0, 0, 0, 1, 0]
    assert times_due(3, 17, 5) == 3
    assert crossed(0, 10, [10, 0, 5, 11]) == [5, 10]
