"""Segment files that cannot be used, and a replay that goes on without the damaged ones: nothing is deleted."""

import errno
import os
from pathlib import Path

import pytest
import torch
from damage_kit import LENGTHS, SIZES, STEPS, flip, hit, refused, segment, tree, written
from replay_feeder import Feeder, build, check_batch

from replay import Replay, checksum
from utils.errors import UserError


def missing(path: Path) -> None:
    path.unlink()


def shorter(path: Path) -> None:
    os.truncate(path, 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


UNUSABLE = [missing, shorter, empty, longer, folder_there, link_to_nothing, link_to_itself, pipe]


@pytest.mark.parametrize("damage", UNUSABLE)
@pytest.mark.parametrize("number", [2, 6])
def test_a_file_that_cannot_be_used(tmp_path, damage, number: int):
    state, feeder = written(tmp_path)
    path = segment(tmp_path, 1, number)
    damage(path)
    spoilt = tree(tmp_path)
    for verify in (True, False):
        error = refused(tmp_path, state, verify=verify)
        assert str(path) in str(error) and not error.usable

    again = build(tmp_path, **SIZES)
    again.load_state_dict(state, verify="drop", say=lambda line: None)
    kept = path.with_name(f"{path.name}.aside")
    name = str(path.relative_to(tmp_path))
    assert os.path.lexists(kept) == (name in spoilt)
    for old, what in spoilt.items():  # nothing was deleted
        assert tree(tmp_path)[old.replace(name, f"{name}.aside")] == what
    assert_goes_on_without(again, state, 1, number, feeder)


def test_dropped_twice_both_are_kept(tmp_path):
    state, _ = written(tmp_path)
    path = segment(tmp_path, 1, 2)
    for text in (b"one", b"two"):
        path.write_bytes(text)
        build(tmp_path, **SIZES).load_state_dict(state, verify="drop")
    assert [path.with_name(f"{path.name}.aside{end}").read_bytes() for end in ("", "_2")] == [b"one", b"two"]


def test_a_stream_that_is_gone(tmp_path):
    state, feeder = written(tmp_path)
    for path in (tmp_path / "stream_1").iterdir():
        path.unlink()
    (tmp_path / "stream_1").rmdir()
    assert str(segment(tmp_path, 1, 0)) in str(refused(tmp_path, state))
    again = build(tmp_path, **SIZES)
    again.load_state_dict(state, verify="drop")
    assert set(again.episodes[:, 0]) == {0}
    feeder.feed(again, 100)
    assert set(again.episodes[:, 0]) == {0, 1}


def test_a_disk_that_cannot_give_the_records_back(tmp_path, monkeypatch):
    state, _ = written(tmp_path)
    victim, read = segment(tmp_path, 0, 3), checksum.of_file

    def broken(path, *arguments):
        if path == victim and broken.sectors == path.stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path, *arguments)

    broken.sectors = victim.stat().st_ino
    monkeypatch.setattr(checksum, "of_file", broken)
    error = refused(tmp_path, state)
    assert str(victim) in str(error) and os.strerror(errno.EIO) in str(error) and not error.usable
    build(tmp_path, **SIZES).load_state_dict(state, verify="drop")
    assert victim.with_name(f"{victim.name}.aside").stat().st_ino == broken.sectors


@pytest.mark.parametrize("verify", [True, False, "drop"])
@pytest.mark.parametrize("where", ["stream_1/segment_00000002.bin", "stream_1", "."])
def test_rights_are_the_users_to_give(tmp_path, monkeypatch, verify, where: str):
    state, _ = written(tmp_path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / where and access(path, mode))
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"rights") as caught:
        build(tmp_path, **SIZES).load_state_dict(state, verify=verify)
    assert str((tmp_path / where).resolve()) in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("forget", [False, True])
def test_a_folder_where_a_segment_comes(tmp_path, forget: bool):
    """Newer segments go on resume, all when the run starts over; a folder of that name is nobody's to delete."""
    state, _ = written(tmp_path)
    folder_in_the_way = segment(tmp_path, 0, 7)
    folder_in_the_way.mkdir()
    before, replay = tree(tmp_path), build(tmp_path, **SIZES)
    with pytest.raises(UserError, match=r"segment_00000007\.bin"):
        replay.clear() if forget else replay.load_state_dict(state)
    assert tree(tmp_path) == before


def test_a_file_where_a_new_segment_goes(tmp_path):
    replay, feeder = build(tmp_path), Feeder(LENGTHS)
    feeder.feed(replay, 16)
    segment(tmp_path, 0, 1).write_text("mine")
    with pytest.raises(UserError, match=r"segment_00000001\.bin"):
        feeder.feed(replay, 1)
    assert segment(tmp_path, 0, 1).read_text() == "mine" and replay.total_written == 16


def assert_goes_on_without(replay: Replay, state: dict, env: int, number: int, feeder: Feeder) -> None:
    """All episodes but those in segment ``number`` of ``env`` are there, and nothing else is ever drawn."""
    lost = hit(state, env, number)
    assert lost.any() or number == 6
    assert replay.episodes.tolist() == state["episodes"][~lost].tolist()
    for _ in range(4):
        check_batch(replay.sample(), 4, 8)
        feeder.feed(replay, 30)
    later = replay.state_dict()
    again = build(replay.directory, **SIZES)
    again.load_state_dict(later)  # what is left is whole
    assert again.episodes.tolist() == replay.episodes.tolist()


@pytest.mark.parametrize(("number", "ring"), [(0, None), (3, "cpu"), (5, None), (6, "cpu")])
def test_episodes_in_a_changed_segment_are_left_out(tmp_path, number: int, ring):
    state, feeder = written(tmp_path)
    path = segment(tmp_path, 1, number)
    path.write_bytes(bytes(path.stat().st_size))
    said: list[str] = []
    again = build(tmp_path, **SIZES, ring=ring and torch.device(ring))
    again.load_state_dict(state, verify="drop", say=said.append)
    assert any(str(path) in line for line in said)
    assert_goes_on_without(again, state, 1, number, feeder)


@pytest.mark.parametrize("number", [5, 6])
def test_an_unfinished_episode_ends_as_what_is_left_of_it(tmp_path, number: int):
    """Stream 0 is in the episode that began at record 84: its first 12 records are in segment 5, 4 in segment 6."""
    state, feeder = written(tmp_path)
    assert state["streams"][0]["open"] == 84
    flip(segment(tmp_path, 0, number), 100)
    again = build(tmp_path, **SIZES)
    again.load_state_dict(state, verify="drop")
    again.load_state_dict(again.state_dict())
    assert again.state_dict()["streams"][0]["open"] == 84
    begin, end = min(100, (number + 1) * STEPS), 84 + feeder.length(0, 4)
    feeder.feed(again, end - 100)
    ours = again.episodes[again.episodes[:, 0] == 0].tolist()
    assert ([0, begin, end - begin] in ours) and not [row for row in ours if row[1] == 84]
    assert again.ended(0)["action"][:, 1].tolist() == list(range(begin, end))
    feeder.feed(again, 40)
    for _ in range(5):
        check_batch(again.sample(), 4, 8)
