"""``python -m analysis.coverage`` on replays written here, and on a run that ends and one that goes on."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from contents_kit import CONFIG, resumable

from analysis.cells import coverage as coverage_of
from analysis.coverage import main, run_coverage
from entry.lock import FolderLock
from entry.start import launch
from replay import Replay
from training import checkpoint
from training.collector import Collector
from training.run import CHECKPOINT
from utils.config import CONFIG_FILE
from utils.errors import UserError

SPEC = {
    "observation": ((3, 2, 2), "uint8"),
    "reward": ((), "float32"),
    **dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool")),
    "physics": ((18,), "float64"),
}
LENGTH = 10  # records of an episode


def state_of(env: int, number: int) -> np.ndarray:
    """Record ``number`` of stream ``env``: another speed bin for every second record, a pitch bin per stream."""
    state = np.zeros(18)
    state[2] = 0.1 + env * np.pi / 8
    state[10] = -7.9 + 0.25 * number
    return state


def write(folder: Path, records: int, *, num_envs: int = 1, capacity: int = 256, physics: bool = True) -> Replay:
    """A run folder with ``records`` records per environment, ``action_repeat`` 2."""
    spec = {key: value for key, value in SPEC.items() if physics or key != "physics"}
    replay = Replay(folder / "replay", spec, capacity=capacity, batch_size=2, batch_length=4, seed=1, num_envs=num_envs)
    add(replay, 0, records)
    save(folder, replay)
    (folder / CONFIG_FILE).write_text("task: walker_run\n")
    return replay


def add(replay: Replay, start: int, end: int) -> None:
    envs = range(replay.layout.num_envs)
    for number in range(start, end):
        values = {
            "observation": np.zeros((len(envs), 3, 2, 2), np.uint8),
            "reward": np.zeros(len(envs), np.float32),
            "is_first": np.full(len(envs), number % LENGTH == 0),
            "is_last": np.full(len(envs), number % LENGTH == LENGTH - 1),
            "is_terminal": np.zeros(len(envs), bool),
            "physics": np.stack([state_of(env, number) for env in envs]),
        }
        replay.add({key: values[key] for key in replay.layout.dtype.names})


def save(folder: Path, replay: Replay, domain: str = "walker") -> None:
    replay.flush()
    state = replay.state_dict()
    checkpoint.save(folder / CHECKPOINT, "checkpoint", resumable(replay=state, config=CONFIG | {"domain": domain}))
    replay.release(state)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and time of change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_all_frames_and_their_bins(tmp_path):
    write(tmp_path / "run", 25)
    # resets at records 0, 10, 20 are no steps; two records to a bin
    assert run_coverage(tmp_path / "run")[:4] == (tmp_path / "run", 44, 13, 0)


@pytest.mark.parametrize(
    ("frames", "steps", "records"), [(1, 0, 0), (2, 1, 2), (18, 9, 10), (19, 9, 10), (20, 10, 12), (999, 22, 25)]
)
def test_up_to_a_frame(tmp_path, frames, steps, records):
    """Step k of the first episode is record k; the reset after step 9 comes with step 10, not with step 9."""
    write(tmp_path / "run", 25)
    found = run_coverage(tmp_path / "run", frames)
    assert (found.frames, found.bins) == (2 * steps, -(-records // 2))


def test_streams_are_joined(tmp_path):
    write(tmp_path / "run", 25, num_envs=3, capacity=600)
    assert run_coverage(tmp_path / "run")[:4] == (tmp_path / "run", 3 * 44, 3 * 13, 0)
    # 54 frames are 9 steps of each
    assert run_coverage(tmp_path / "run", 54)[:4] == (tmp_path / "run", 54, 3 * 5, 0)


def test_a_wrapped_replay_counts_what_it_holds_and_says_so(tmp_path, capsys):
    replay = write(tmp_path / "run", 60, capacity=48)
    (start,) = [stream["first_live"] * replay.layout.segment_steps for stream in replay.state_dict()["streams"]]
    assert start > 0
    gone = sum(number % LENGTH != 0 for number in range(start))
    states = np.stack([state_of(0, number) for number in range(start, 60)])
    found = run_coverage(tmp_path / "run")
    assert found[:4] == (tmp_path / "run", 2 * (54 - gone), coverage_of("walker", states), 2 * gone)
    assert run_coverage(tmp_path / "run", 2 * gone).frames == 0
    part = run_coverage(tmp_path / "run", 2 * gone + 6)
    assert (part.frames, part.evicted) == (6, 2 * gone)
    assert main([str(tmp_path / "run")]) == 0
    assert f"its first {2 * gone} frames are gone" in capsys.readouterr().out


def test_a_run_that_goes_on_is_neither_disturbed_nor_read_beyond_its_checkpoint(tmp_path):
    folder = tmp_path / "run"
    with FolderLock(folder):
        replay = write(folder, 25)
        add(replay, 25, 60)
        before = content(folder)
        assert run_coverage(folder)[:4] == (folder, 44, 13, 0)
        assert content(folder) == before
        add(replay, 60, 70)
        save(folder, replay)
        assert run_coverage(folder).frames == 2 * 63


def test_segments_are_mapped_for_reading_only(tmp_path, monkeypatch):
    write(tmp_path / "run", 25)
    modes = []
    original = np.memmap

    def spying(*arguments, mode, **named):
        modes.append(mode)
        return original(*arguments, mode=mode, **named)

    monkeypatch.setattr(np, "memmap", spying)
    assert run_coverage(tmp_path / "run").bins == 13
    assert modes == ["r", "r"]


def test_the_command_prints_a_line_per_run(tmp_path, capsys):
    for name, records in (("a", 25), ("b", 5)):
        write(tmp_path / name, records)
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--frames", "20"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'a'}  20 frames  6 bins  1 places of 1 m",
        f"{tmp_path / 'b'}  8 frames  3 bins  1 places of 1 m",
    ]


def refused(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and out == ""
    return err


def test_errors_are_one_line(tmp_path, capsys):
    assert "holds no run (config.yaml is missing)" in refused(capsys, tmp_path)
    assert "--frames=0" in refused(capsys, tmp_path, "--frames", "0")
    write(tmp_path / "run", 5)
    (tmp_path / "run" / CHECKPOINT).unlink()
    assert "has no checkpoint.pt" in refused(capsys, tmp_path / "run")
    write(tmp_path / "blind", 5, physics=False)
    assert "replay.store_physics" in refused(capsys, tmp_path / "blind")
    save(tmp_path / "fish", write(tmp_path / "fish", 5), "fish")
    assert "domain=fish is not known. Allowed: cheetah, dog, hopper" in refused(capsys, tmp_path / "fish")
    write(tmp_path / "gone", 5)
    (tmp_path / "gone" / "replay" / "stream_0" / "segment_00000000.bin").unlink()
    assert "segment_00000000.bin is missing" in refused(capsys, tmp_path / "gone")
    write(tmp_path / "short", 5)
    os.truncate(tmp_path / "short" / "replay" / "stream_0" / "segment_00000000.bin", 100)
    assert "segment_00000000.bin is missing or damaged" in refused(capsys, tmp_path / "short")
    write(tmp_path / "torn", 5)
    (tmp_path / "torn" / "replay" / "layout.json").write_text("{")
    assert "layout.json is missing or damaged" in refused(capsys, tmp_path / "torn")


def test_a_real_run(settings, tmp_path, monkeypatch):
    """Against the records as the run's own replay reads them, and the steps as the run counted them."""
    monkeypatch.chdir(tmp_path)
    seen = []
    original = Collector._store

    def spying(self, action, reward, is_last, is_terminal, info, skill_valid, mask=None, is_first=False):
        seen.append(info["physics"].copy())
        original(self, action, reward, is_last, is_terminal, info, skill_valid, mask, is_first)

    monkeypatch.setattr(Collector, "_store", spying)
    debug = ("preset=debug", "device=cpu", "progress=false", "evaluate=false", "snapshots=[]")
    config = settings("pretrain", *debug, "num_train_frames=1010")
    run = launch(config, tmp_path / "run", "pretrain")
    found = run_coverage(tmp_path / "run")
    assert (found.frames, found.evicted) == (run.frame, 0) == (1010, 0)
    assert found.bins == coverage_of("walker", np.concatenate(seen)) > 10


def test_a_checkpoint_that_is_none(tmp_path):
    write(tmp_path / "run", 5)
    torch.save({}, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(UserError, match="is not a checkpoint"):
        run_coverage(tmp_path / "run")
