"""A disk that fills up while a run goes on: one message, the last checkpoint stands, and the run can go on from it."""

import errno
import os

import pytest
from kill_kit import assert_same_runs
from run_kit import SHORT
from sweep_kit import sweep

import training.checkpoint
from entry.start import launch
from replay import files
from training.checkpoint import load
from training.run import CHECKPOINT
from utils.csv_log import CsvLog
from utils.errors import UserError


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_after(calls, function):
    """``function``, until it has been called that often; no space is left then."""
    made = []

    def limited(*arguments, **named):
        made.append(None)
        return (function if len(made) <= calls else full)(*arguments, **named)

    return limited


PLACES = {
    "a segment of the replay": (files, "_reserve", 18),
    "a row of train.csv": (CsvLog, "append", 1),
    "a checkpoint": (training.checkpoint, "seal", 2),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.mark.parametrize("place", sweep(PLACES, ("a segment of the replay", "a checkpoint")))
def test_the_last_checkpoint_stands(settings, tmp_path, monkeypatch, whole, place):
    config = settings(
        "finetune",
        *(*SHORT, "snapshot_ts=0", "num_train_frames=3510", "replay.capacity=242", "evaluate=false"),
    )
    if not (whole / CHECKPOINT).exists():
        launch(config, whole, "finetune")
    folder = tmp_path / "run"
    owner, name, calls = PLACES[place]
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(owner, name, full_after(calls, getattr(owner, name)))
        launch(config, folder, "finetune")
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    assert "full" in message.lower() or "No space left" in message
    assert "resume" in message or "Free space" in message
    step = load(folder / CHECKPOINT, "checkpoint")["counters"]["step"]
    assert 0 < step < 351
    assert not list(folder.rglob(".*.tmp*"))
    launch(config, folder, "finetune", resume=True)
    assert_same_runs(whole, folder)


def test_a_disk_that_is_full_from_the_start_says_so(settings, tmp_path, monkeypatch):
    config = settings("finetune", *SHORT, "snapshot_ts=0", "evaluate=false")
    monkeypatch.setattr(CsvLog, "append", full)
    config |= {"num_train_frames": 2010, "checkpoint_every_minutes": 60}
    with pytest.raises(UserError, match="disk.*checkpoint.*resume="):
        launch(config, tmp_path / "run", "finetune")
