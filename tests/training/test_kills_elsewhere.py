"""Runs that are killed, stopped or starved in places that come rarely, and end as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from kill_kit import Kill, assert_same_runs, child_of, in_child, play, rows

from entry.start import launch
from training.checkpoint import load
from training.run import CHECKPOINT
from utils.atomic import is_temporary
from utils.config import CONFIG_FILE
from utils.errors import UserError

QUIET = ("preset=debug", "device=cpu", "progress=false", "save_video=false")
SNAPSHOT_CALLS = 3500
"""Function calls of Python in writing a snapshot, about."""


@pytest.fixture
def compared(tmp_path):
    """``compared(config, script, kills)``: a whole run and one with ``kills``, the same bit for bit; the latter."""

    def run(config, script, kills):
        for name, planned in (("whole", []), ("killed", kills)):
            log = tmp_path / f"{name}.log"
            for number, kill in enumerate([*planned, None]):
                code = in_child(play, config, tmp_path / name, script, number > 0, kill, log)
                assert code == (0 if kill is None else -9), log.read_text()[-3000:]
        assert_same_runs(tmp_path / "whole", tmp_path / "killed")
        return tmp_path / "killed"

    return run


@pytest.mark.parametrize("count", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_killed_while_it_writes_a_numbered_snapshot(settings, tmp_path, compared, count):
    config = settings(
        "pretrain",
        *(*QUIET, "evaluate=false", "action_repeat=10", "num_train_frames=1510", "snapshots=[1200,1400]"),
        *("snapshot_dir=null", "checkpoint_every_minutes=0.01"),
    )
    draw = random.Random(count)
    kills = [Kill(119, "snapshot", draw.randint(1, SNAPSHOT_CALLS)) for _ in range(count)]
    folder = compared(config, "pretrain", kills)
    assert {load(folder / f"snapshot_{mark}.pt", "snapshot")["frame"] for mark in (1200, 1400)} == {1200, 1400}
    assert not [path for path in folder.rglob("*") if is_temporary(path.name) or path.name.startswith("previous_")]


@pytest.mark.long
def test_a_drq_run_killed_in_an_evaluation(settings, compared):
    config = settings(
        "drq",
        *(*QUIET, "task=cartpole_swingup", "num_train_steps=510", "replay_buffer_capacity=300", "num_skills=3"),
        "checkpoint_every_minutes=0.01",
    )
    folder = compared(config, "drq", [Kill(249, "evaluation", 3000), Kill(499, "evaluation", 20_000)])
    evaluations = [row for row in rows(folder / "episodes.csv") if row["type"] == "eval"]
    assert [row["step"] for row in evaluations] == [str(step) for step in (0, 250, 500) for _ in range(3)]


@pytest.mark.long
def test_a_planning_run_killed_while_it_plans(settings, compared):
    config = settings(
        "finetune",
        *(*QUIET, "mpc=true", "snapshot_ts=0", "num_train_frames=1310", "evaluate=false", "action_repeat=10"),
        *("recon_every_frames=1000000", "checkpoint_every_minutes=0.01"),
    )
    folder = compared(config, "finetune", [Kill(110, "collect", 1200), Kill(125, "collect", 40)])
    assert load(folder / CHECKPOINT, "checkpoint")["agent"]["planning"]


@pytest.mark.long
def test_three_asynchronous_environments_and_prefetch_killed_and_resumed(settings, compared):
    config = settings(
        "pretrain",
        *(*QUIET, "num_envs=3", "collect.async=true", "replay.prefetch=true", "snapshot_dir=null", "snapshots=[3000]"),
        *("num_train_frames=4500", "replay.capacity=3600", "checkpoint_every_minutes=0.01", "action_repeat=10"),
        *("train_every_actions=50", "evaluate=false"),
    )
    folder = compared(config, "pretrain", [Kill(330, "update", 1000), Kill(390, "finish", 30)])
    assert "policy_lag" in rows(folder / "train.csv")[-1]


def test_stopped_and_continued(settings, tmp_path):
    config = settings(
        "finetune",
        *(*QUIET, "snapshot_ts=0", "num_train_frames=1510", "evaluate=false", "action_repeat=10"),
        *("num_envs=2", "checkpoint_every_minutes=0.01", "replay.capacity=2400"),
    )
    launch(config, tmp_path / "whole", "finetune")
    child = child_of(play, config, tmp_path / "killed", "finetune", False, None, tmp_path / "log")
    while not (tmp_path / "killed" / CHECKPOINT).exists():
        assert child.is_alive()
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(1)
    with pytest.raises(UserError, match=f"hydra.run.dir={tmp_path / 'killed'}"):
        launch(config, tmp_path / "killed", "finetune", resume=True)
    os.kill(child.pid, signal.SIGCONT)
    child.join(200)
    assert child.exitcode == 0, (tmp_path / "log").read_text()
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of ``size`` bytes in memory: ``small_disk(size)`` is its folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_real_disk_that_fills_up_at_any_moment(settings, tmp_path, small_disk, monkeypatch):
    config = settings(
        "pretrain",
        *(*QUIET, "evaluate=false", "action_repeat=10", "num_train_frames=2510", "snapshots=[1200,1400]"),
        *("snapshot_dir=null", "checkpoint_every_minutes=0", "replay.capacity=242"),
    )
    launch(config, tmp_path / "whole", "pretrain")
    monkeypatch.setattr("entry.start.short_of", lambda need, run_dir: [])
    monkeypatch.setattr("replay.layout.check_disk", lambda *arguments: None)
    disk, draw, ended = small_disk("16m"), random.Random(0), []
    for number in range(4):
        folder, resume = disk / f"run_{number}", False
        for attempt in range(6):
            fill(disk, draw.randint(0, 2_000_000) if attempt < 5 else None)
            try:
                launch(config, folder, "pretrain", resume=resume)
            except UserError as error:
                ended.append(str(error))
                resume = (folder / CONFIG_FILE).exists()
        assert_same_runs(tmp_path / "whole", folder)
        assert not [path for path in folder.rglob("*") if is_temporary(path.name)]
        shutil.rmtree(folder)
    print(f"{len(ended)} times full:", *ended, sep="\n")
    assert len(ended) >= 10 and all("\n" not in text for text in ended)


def fill(disk, room):
    """Leave ``room`` bytes free on ``disk``; None: all of it."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    if room is not None:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - room))
