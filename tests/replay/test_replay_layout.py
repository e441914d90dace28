"""Sizes are stated before anything is built, hold afterwards, and impossible ones are refused in words."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_feeder import SPEC, Feeder, build

from replay import Replay, check_disk, plan
from replay.records import fields_of, record_dtype
from utils.errors import UserError

Usage = namedtuple("Usage", "total used free")
PIXELS = {**SPEC, "observation": ((3, 64, 64), "uint8")}


def test_published_size_is_stated():
    layout = plan(PIXELS, capacity=1_000_000, batch_length=50)
    assert layout.describe() == "replay: 1,000,000 steps, 12.3 GB on disk"
    assert layout.segments * layout.segment_steps > 0.99 * 1_000_000
    assert layout.segment_steps <= 16_384


def test_records_have_no_holes_and_do_not_depend_on_key_order():
    dtype = record_dtype(SPEC)
    assert dtype == record_dtype(dict(reversed(SPEC.items())))
    assert fields_of(dtype) == {key: (shape, np.dtype(scalar)) for key, (shape, scalar) in SPEC.items()}
    used = sum(np.dtype((scalar, shape)).itemsize for shape, scalar in SPEC.values())
    assert used <= dtype.itemsize < used + 8  # only the end is padded


@given(
    capacity=st.integers(1, 5_000_000),
    batch_length=st.integers(1, 200),
    num_envs=st.integers(1, 64),
)
def test_every_layout_is_bounded_and_usable(capacity: int, batch_length: int, num_envs: int):
    smallest = 6 * batch_length * num_envs
    if capacity < smallest:
        with pytest.raises(UserError, match=rf"replay\.capacity={capacity} .*replay\.capacity={smallest}"):
            plan(SPEC, capacity=capacity, batch_length=batch_length, num_envs=num_envs)
        return
    layout = plan(SPEC, capacity=capacity, batch_length=batch_length, num_envs=num_envs)
    assert layout.nbytes <= capacity * layout.dtype.itemsize
    assert layout.segment_steps >= 2 * batch_length
    assert 2 <= layout.live_segments < layout.segments
    assert layout.segments * num_envs <= 2 * 512


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": 0}, "replay.capacity=0 "),
        ({"capacity": -5}, "replay.capacity=-5 "),
        ({"capacity": 40}, "replay.capacity=40 is too small.*Set replay.capacity=48"),
        ({"batch_length": 0}, "batch_length=0 "),
        ({"batch_size": 0}, "batch_size=0 "),
        ({"num_envs": 0}, "num_envs=0 "),
        ({"seed": -1}, "seed=-1 "),
        ({"episode_length": 251}, r"replay.capacity=256 is too small.*episode has 251.*Set replay.capacity=\d+"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        build(tmp_path / "replay", **changes)
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize("episode_length", [30, 113, 224, 501, 5000])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_the_suggested_capacity_holds_the_episode(tmp_path, episode_length: int, num_envs: int):
    try:
        build(tmp_path / "a", episode_length=episode_length, num_envs=num_envs)
    except UserError as error:
        capacity = int(str(error).rsplit("replay.capacity=", 1)[1].split()[0])
        build(tmp_path / "b", capacity=capacity, episode_length=episode_length, num_envs=num_envs)
    else:
        assert episode_length == 30 and num_envs == 1


@pytest.mark.parametrize("episode_length", [30, 113, 224])
def test_there_is_always_an_episode_to_sample_after_the_first(tmp_path, episode_length: int):
    capacity = 2 * episode_length
    while True:
        try:
            replay = build(tmp_path / str(capacity), capacity=capacity, episode_length=episode_length)
            break
        except UserError:
            capacity += 1  # the smallest that is allowed
    feeder = Feeder([episode_length])
    feeder.feed(replay, episode_length)
    for _ in range(4 * capacity):
        feeder.feed(replay, 1)
        assert replay.ready


@pytest.mark.parametrize("missing", ["is_first", "is_last", "is_terminal"])
def test_flags_are_required(tmp_path, missing: str):
    spec = {key: value for key, value in SPEC.items() if key != missing}
    with pytest.raises(ValueError, match=missing):
        Replay(tmp_path, spec, capacity=256, batch_size=4, batch_length=8, seed=0)


def test_too_little_disk_names_what_would_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2_000_000_000, 0, 1_000_000_000))
    directory = tmp_path / "replay"
    with pytest.raises(UserError, match=r"replay\.capacity=1000000 .*12\.3 GB.* 1\.0 GB") as error:
        Replay(directory, PIXELS, capacity=1_000_000, batch_size=4, batch_length=8, seed=0)
    assert not directory.exists()
    fits = int(str(error.value).rsplit("replay.capacity=", 1)[1].rstrip("."))
    assert 75_000 < fits < 82_000
    check_disk(directory, plan(PIXELS, capacity=fits, batch_length=8))  # must not raise
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2_000_000_000, 0, 1000))
    with pytest.raises(UserError, match="Free some space"):
        check_disk(directory, plan(PIXELS, capacity=10_000, batch_length=8))


def test_segments_already_there_need_no_free_space(tmp_path, monkeypatch):
    replay = build(tmp_path)
    Feeder([10]).feed(replay, 500)
    state = replay.state_dict()
    missing = replay.nbytes - sum(path.stat().st_size for path in tmp_path.rglob("*.bin"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, missing))
    build(tmp_path).load_state_dict(state)
    if missing:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, missing - 1))
        with pytest.raises(UserError, match="replay.capacity=256"):
            build(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": 512}, "replay.capacity: stored 256, now 512"),
        ({"num_envs": 2}, "num_envs: stored 1, now 2"),
        ({"batch_length": 12}, "batch_length: stored 8, now 12"),
    ],
)
def test_reopening_with_another_layout_is_refused(tmp_path, changes: dict, message: str):
    Feeder([10]).feed(build(tmp_path), 20)
    with pytest.raises(UserError, match=message):
        build(tmp_path, **changes)


def test_reopening_with_another_record_is_refused(tmp_path):
    Feeder([10]).feed(build(tmp_path), 20)
    spec = {**SPEC, "action": ((4,), "float32")}
    with pytest.raises(UserError, match=r"\baction\b.*\[\[2\], '<f4'\].*\[\[4\], '<f4'\]"):
        Replay(tmp_path, spec, capacity=256, batch_size=4, batch_length=8, seed=0)


def test_layout_file_is_complete_and_alone(tmp_path):
    build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["layout.json"]
    stored = json.loads((tmp_path / "layout.json").read_text())
    assert stored["capacity"] == 256 and stored["record"]["observation"] == [[3, 2, 2], "|u1"]


def test_an_abandoned_replay_leaves_nothing(tmp_path):
    build(tmp_path / "replay").abandon()
    assert list(tmp_path.iterdir()) == []


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_in_the_folder_outlives_an_abandoned_replay(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    build(tmp_path / "notes").abandon()
    assert files_below(tmp_path) == {tmp_path / "notes" / "notes.txt": b"mine"}
    written = build(tmp_path / "replay")
    Feeder([20]).feed(written, 50)
    written.flush()
    before = files_below(tmp_path)
    assert len(before) > 2
    written.abandon()
    build(tmp_path / "replay").abandon()
    assert files_below(tmp_path) == before
