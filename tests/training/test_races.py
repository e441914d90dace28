"""Whole runs in processes of their own that want the same snapshot, or the same folder, at the same time."""

from pathlib import Path

import pytest
import torch
from kill_kit import child_of, in_child, play, server
from old_kit import put_settings

from entry.start import launch
from training.checkpoint import load
from training.off_policy import OffPolicyRun
from training.run import CHECKPOINT

MARKS = (1000, 1010, 1020)


@pytest.fixture
def config(settings, tmp_path):
    """The settings of a run of 103 agent steps that writes three snapshots, to ``tmp_path / "shared"``."""
    return settings(
        "pretrain",
        *("preset=debug", "device=cpu", "progress=false", "save_video=false", "evaluate=false", "action_repeat=10"),
        *("num_train_frames=1030", f"snapshots={list(MARKS)}", f"snapshot_dir={tmp_path / 'shared'}"),
    )


def race(config, folder: Path, barrier) -> None:
    """A whole run that waits for the others before each of its snapshots."""
    torch.set_num_threads(1)
    original = OffPolicyRun.save_snapshot

    def together(run, path):
        barrier.wait(120)
        original(run, path)

    OffPolicyRun.save_snapshot = together
    launch(config, folder, "pretrain")


def owners(folder: Path) -> list[tuple[int, str]]:
    """Frame and run of every snapshot in ``folder``, whatever it is called; there is nothing else."""
    assert all(path.suffix == ".pt" and not path.name.startswith(".") for path in folder.iterdir())
    return sorted((content["frame"], content["run"]) for content in map(load, folder.iterdir()))


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_runs_that_race_for_snapshots_lose_none(config, tmp_path, rounds):
    done = []
    for number in range(rounds):
        barrier = server.Barrier(2)
        folders = [tmp_path / f"{name}_{number}" for name in "ab"]
        children = [child_of(race, config, folder, barrier) for folder in folders]
        for child in children:
            child.join(250)
        assert [child.exitcode for child in children] == [0, 0]
        done += [(mark, str(folder)) for mark in MARKS for folder in folders]
        assert owners(tmp_path / "shared") == sorted(done)
    assert {f"snapshot_{mark}.pt" for mark in MARKS} < {path.name for path in (tmp_path / "shared").iterdir()}
    print(f"{rounds} races of two runs for {len(MARKS)} names: {len(done)} snapshots written, {len(done)} there")


def test_a_second_process_on_a_run_folder_is_refused_and_the_first_goes_on(config, tmp_path):
    barrier = server.Barrier(2)
    first = child_of(race, config, tmp_path / "run", barrier)
    while not (tmp_path / "run" / "config.yaml").exists():
        assert first.is_alive()
    log = tmp_path / "second.log"
    for resume in (False, True):
        assert in_child(play, config, tmp_path / "run", "pretrain", resume, None, log) == 1
    assert log.read_text().count(f"hydra.run.dir={tmp_path / 'run'}") == 2
    for _ in MARKS:
        barrier.wait(120)
    first.join(250)
    assert first.exitcode == 0 and load(tmp_path / "run" / CHECKPOINT)["frame"] == 1030
    assert owners(tmp_path / "shared") == [(mark, str(tmp_path / "run")) for mark in MARKS]


def test_a_run_in_the_folder_of_one_that_was_moved_away_keeps_its_snapshots(config, tmp_path):
    launch(config, tmp_path / "run", "pretrain")
    first = (tmp_path / "shared/snapshot_1000.pt").read_bytes()
    (tmp_path / "run").rename(tmp_path / "moved")
    launch(config, tmp_path / "run", "pretrain")
    assert (tmp_path / "shared/previous_1_snapshot_1000.pt").read_bytes() == first
    (tmp_path / "run" / CHECKPOINT).unlink()
    put_settings(tmp_path / "run", checkpointed=False)  # as if it had been killed before the first one
    launch(config, tmp_path / "run", "pretrain", resume=True)  # its own are replaced
    assert len(list((tmp_path / "shared").iterdir())) == 2 * len(MARKS)
