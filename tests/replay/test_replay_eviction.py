"""The bound on disk always holds, and nothing a checkpoint needs is deleted before the next one is there."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_feeder import Feeder, build, bytes_on_disk, check_batch

from replay import files
from utils.errors import UserError


def segments(directory: Path, stream: int = 0) -> list[int]:
    return sorted(int(path.stem.split("_")[1]) for path in (directory / f"stream_{stream}").iterdir())


@settings(max_examples=25, deadline=None)
@given(
    num_envs=st.integers(1, 3),
    share=st.integers(60, 400),
    with_callback=st.booleans(),
    work=st.lists(st.tuples(st.sampled_from(["checkpoint", "state", "nothing"]), st.integers(1, 120)), max_size=10),
)
def test_capacity_is_never_exceeded_and_the_last_checkpoint_always_loads(num_envs, share, with_callback, work):
    with tempfile.TemporaryDirectory() as folder:
        replay = build(Path(folder), capacity=share * num_envs, num_envs=num_envs)
        saved = []

        def checkpoint() -> None:
            state = replay.state_dict()
            saved.append(state)  # "on disk" from here
            assert bytes_on_disk(Path(folder)) <= replay.nbytes
            replay.release(state)

        if with_callback:
            replay.make_room = checkpoint
        feeder = Feeder([25, 9, 40], num_envs)
        for action, adds in work:
            for _ in range(adds):
                feeder.feed(replay, 1)
                assert bytes_on_disk(Path(folder)) <= replay.nbytes <= share * num_envs * replay.layout.dtype.itemsize
            if action == "checkpoint":
                checkpoint()
            elif action == "state":
                replay.state_dict()  # a checkpoint that never reaches the disk
        assert replay.total_written == num_envs * sum(adds for _, adds in work)
        if with_callback and saved:
            again = build(Path(folder), capacity=share * num_envs, num_envs=num_envs)
            again.load_state_dict(saved[-1])
            if again.ready:
                check_batch(again.sample(), 4, 8)


def test_a_run_without_checkpoints_stays_within_the_bound(tmp_path):
    replay = build(tmp_path)
    Feeder([20]).feed(replay, 16 * 40)
    assert bytes_on_disk(tmp_path) == replay.nbytes
    assert segments(tmp_path) == list(range(24, 40))  # 15 live ones and the one evicted last


def test_evicted_segments_wait_for_release(tmp_path):
    replay = build(tmp_path, capacity=36 * 16, batch_length=8)  # 16 segments of 36 records, 15 live
    assert (replay.layout.segment_steps, replay.layout.segments, replay.layout.live_segments) == (36, 16, 15)
    feeder = Feeder([36])
    feeder.feed(replay, 36 * 15)
    assert segments(tmp_path) == list(range(15))
    before = replay.state_dict()
    feeder.feed(replay, 1)
    assert replay.episodes[0].tolist() == [0, 36, 36]  # segment 0 is no longer sampled ...
    assert segments(tmp_path) == list(range(16))  # ... and still there
    replay.release(before)  # the state from before still knows segment 0
    assert segments(tmp_path) == list(range(16))
    replay.state_dict()
    assert segments(tmp_path) == list(range(16))  # taking a state deletes nothing
    replay.release()
    assert segments(tmp_path) == list(range(1, 16))


def test_make_room_is_asked_in_time_and_before_anything_changes(tmp_path):
    seen = []

    def make_room() -> None:
        seen.append((replay.total_written, segments(tmp_path)))
        replay.release(replay.state_dict())

    replay = build(tmp_path, make_room=make_room)
    Feeder([20]).feed(replay, 16 * 18)
    assert seen == [(256, list(range(16))), (272, list(range(1, 17)))]


def test_make_room_that_releases_nothing_is_an_error(tmp_path):
    replay = build(tmp_path, make_room=lambda: None)
    feeder = Feeder([20])
    with pytest.raises(RuntimeError, match="release"):
        feeder.feed(replay, 257)
    assert replay.total_written == 256
    assert bytes_on_disk(tmp_path) == replay.nbytes


def test_a_loop_that_follows_checkpoint_due_never_needs_make_room(tmp_path):
    def make_room() -> None:
        raise AssertionError

    replay = build(tmp_path, num_envs=2, capacity=512, make_room=make_room)
    feeder = Feeder([20, 13], 2)
    checkpoints = 0
    for _ in range(900):
        feeder.feed(replay, 1)
        if replay.checkpoint_due:
            replay.release(replay.state_dict())
            checkpoints += 1
    assert 0 < checkpoints <= 900 // 16


def test_deleting_what_a_checkpoint_may_need_is_said(tmp_path, caplog):
    replay = build(tmp_path)
    feeder = Feeder([20])
    feeder.feed(replay, 20)
    state = replay.state_dict()
    feeder.feed(replay, 600)
    assert len([entry for entry in caplog.records if "may not resume" in entry.message]) == 1
    with pytest.raises(UserError, match=r"segment_00000000\.bin"):
        build(tmp_path).load_state_dict(state)


def test_a_batch_survives_the_deletion_of_its_files(tmp_path):
    replay = build(tmp_path)
    feeder = Feeder([20])
    feeder.feed(replay, 40)
    pieces = replay._streams[0].window(10, 8)
    feeder.feed(replay, 1000)
    assert 0 not in segments(tmp_path)
    assert pieces[0].fields["action"][10, 1] == 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_can_be_survived(tmp_path, monkeypatch, code: int):
    replay = build(tmp_path, num_envs=2, capacity=512)
    feeder = Feeder([20], 2)
    feeder.feed(replay, 16 * 20)
    allocate, calls = os.posix_fallocate, []

    def full(*args: int) -> None:
        calls.append(args)
        if len(calls) > 1:  # the first stream gets its segment, the second does not
            raise OSError(code, "full")
        allocate(*args)

    monkeypatch.setattr(os, "posix_fallocate", full)
    episodes, state = replay.episodes, replay.state_dict()
    with pytest.raises(UserError, match="disk is full.*Free some space"):
        replay.add(feeder.next_records())
    assert replay.total_written == 640 and (replay.episodes == episodes).all()
    assert replay.state_dict()["streams"] == state["streams"]
    assert bytes_on_disk(tmp_path) <= replay.nbytes
    replay.release()
    monkeypatch.undo()
    feeder.feed(replay, 60)
    check_batch(replay.sample(), 4, 8)
    assert bytes_on_disk(tmp_path) <= replay.nbytes


def test_other_errors_are_passed_on_and_leave_no_file(tmp_path, monkeypatch):
    def broken(*_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "posix_fallocate", broken)
    with pytest.raises(OSError, match="broken"):
        files.allocate(tmp_path / "file", 10)
    assert not list(tmp_path.iterdir())


def test_where_blocks_cannot_be_reserved_the_file_is_sparse(tmp_path, monkeypatch):
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    files.allocate(tmp_path / "a", 5000)
    monkeypatch.delattr(os, "posix_fallocate")
    files.allocate(tmp_path / "b", 5000)
    assert (tmp_path / "a").stat().st_size == (tmp_path / "b").stat().st_size == 5000
    with pytest.raises(FileExistsError):
        files.allocate(tmp_path / "a", 10)
    assert (tmp_path / "a").stat().st_size == 5000


def test_segments_are_really_allocated(tmp_path):
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("needs posix_fallocate")
    files.allocate(tmp_path / "a", 1_000_000)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 1_000_000


def test_history_is_that_of_the_episodes_that_can_be_sampled(tmp_path):
    """Whole ones, across segments, of every stream; older ones are gone."""
    replay, feeder = build(tmp_path, num_envs=2, capacity=512), Feeder([37, 10], 2)
    feeder.feed(replay, 400)
    history = list(replay.history("reward", "skill"))
    assert len(history) == replay.num_episodes > 10 and replay.episodes[0, 1] > 0
    for (env, start, length), episode in zip(replay.episodes, history, strict=True):
        assert episode.keys() == {"reward", "skill"}
        assert episode["reward"].tolist() == [step / 2 for step in range(length)]
        np.testing.assert_array_equal(episode["skill"], replay.read(env, start, length)["skill"])
