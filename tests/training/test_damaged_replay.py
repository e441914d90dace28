"""Runs whose replay was damaged while they stood still: refused with what can be done, and gone on with by that."""

import re

import pytest
from run_kit import BLIND, DEBUG, SHORT
from settings_kit import compose_settings

from entry.start import launch
from training.checkpoint import load
from training.run import CHECKPOINT
from utils.errors import UserError

CASES = {
    "pretrain": (*SHORT, *BLIND, "snapshots=[]", "use_tb=false", "replay.capacity=242"),
    "drq": (*DEBUG, "save_video=false", "log_save_tb=false", "eval_frequency=100000", "replay_buffer_capacity=300"),
}
LENGTHS = {
    "pretrain": ("num_train_frames=1050", "num_train_frames=2050"),
    "drq": ("num_train_steps=210", "num_train_steps=300"),
}


@pytest.mark.parametrize("script", CASES)
def test_a_run_is_refused_and_goes_on_as_it_was_told(tmp_path, capsys, script):
    """The segment being written is zeroed. What DrQ's run says of the episode it is in is made of the rest of it."""
    first, longer = LENGTHS[script]
    folder = tmp_path / "run"
    launch(compose_settings(script, *CASES[script], first), folder, script)
    state = load(folder / CHECKPOINT)["replay"]["streams"][0]
    assert state["open"] is not None
    path = max((folder / "replay" / "stream_0").glob("segment_*.bin"))
    path.write_bytes(bytes(path.stat().st_size))
    before = {path: path.read_bytes() for path in (folder / "replay").rglob("*") if path.is_file()}
    capsys.readouterr()

    with pytest.raises(UserError) as caught:
        launch(compose_settings(script, *CASES[script], longer), folder, script, resume=True)
    assert {path: path.read_bytes() for path in (folder / "replay").rglob("*") if path.is_file()} == before
    assert str(path) in str(caught.value)
    ways = re.findall(rf"resume={re.escape(str(folder))} (replay\.verify=\w+)", str(caught.value))
    assert ways == ["replay.verify=drop", "replay.verify=false"]

    run = launch(compose_settings(script, *CASES[script], longer, ways[0]), folder, script, resume=True)
    assert run.clock.over
    assert str(path) in capsys.readouterr().out
    assert not load(folder / CHECKPOINT)["replay"]["streams"][0]["whole_from"]  # the next episode has begun

    path.write_bytes(bytes(path.stat().st_size))  # a finished run draws nothing more
    assert launch(compose_settings(script, *CASES[script], longer), folder, script, resume=True).clock.over
