"""Killed anywhere and opened again, the replay is exactly what the checkpoint knew."""

import copy
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_feeder import Feeder, build, check_batch

from replay import Replay
from replay.storage import Stream
from utils.errors import UserError

LENGTHS = [20, 35, 9]


def save(replay: Replay, feeder: Feeder, path: Path) -> None:
    """What the checkpoint code does."""
    state = replay.state_dict()
    replay.flush()
    temporary = path.with_suffix(".tmp")
    torch.save({"replay": state, "feeder": feeder.position}, temporary)
    temporary.replace(path)
    replay.release(state)


def load(replay: Replay, path: Path) -> Feeder:
    stored = torch.load(path, weights_only=True)
    replay.load_state_dict(stored["replay"])
    feeder = Feeder(LENGTHS, len(stored["feeder"]))
    feeder.position = stored["feeder"]
    return feeder


def assert_same_future(one: Replay, two: Replay, feeder: Feeder, rounds: int = 3) -> None:
    """Both replays are equal now and stay equal while they are fed and sampled in the same way."""
    feeders = feeder, copy.deepcopy(feeder)
    for _ in range(rounds):
        assert (one.episodes == two.episodes).all()
        assert (one.steps, one.total_written, len(one)) == (two.steps, two.total_written, len(two))
        assert one.ready == two.ready
        if one.ready:
            first, second = one.sample(), two.sample()
            check_batch(first, one.batch_size, one.batch_length)
            assert all(torch.equal(first[key], second[key]) for key in first)
        feeders[0].feed(one, 37)
        feeders[1].feed(two, 37)


@settings(max_examples=20, deadline=None)
@given(before=st.integers(0, 700), after=st.integers(0, 400), num_envs=st.integers(1, 2))
def test_a_killed_replay_goes_on_as_if_nothing_had_happened(before, after, num_envs):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        sizes: dict = {"capacity": 256 * num_envs, "num_envs": num_envs}
        killed, whole = build(Path(folder) / "killed", **sizes), build(Path(folder) / "whole", **sizes)
        one, two = Feeder(LENGTHS, num_envs), Feeder(LENGTHS, num_envs)
        killed.make_room = lambda: save(killed, one, path)  # the feeder has not moved on yet: a valid checkpoint
        one.feed(killed, before)
        two.feed(whole, before)
        for replay in (killed, whole):
            if replay.ready:
                replay.sample()
        save(killed, one, path)
        one.feed(killed, after)  # forgotten, apart from what make_room saves
        if killed.ready:
            killed.sample()

        reopened = build(Path(folder) / "killed", **sizes)  # nobody has closed or flushed the other
        feeder = load(reopened, path)
        written = feeder.position[0][0]
        assert before <= written <= before + after
        two.feed(whole, written - before)
        assert_same_future(reopened, whole, feeder)


@pytest.mark.parametrize("kill_at", [3, 250, 530, 601, 999])
def test_a_process_killed_inside_a_write(tmp_path, kill_at: int):
    """The child dies inside append, one field of the record written; it checkpoints every 50 adds."""
    path, folder = tmp_path / "checkpoint.pt", tmp_path / "replay"
    child = os.fork()
    if child == 0:
        appends = 0
        append = Stream.append

        def dying(stream, records, row):
            nonlocal appends
            appends += 1
            if appends == kill_at:
                number, offset = divmod(stream.cursor, stream.layout.segment_steps)
                stream._mapped[number][1]["observation"][offset] = 255
                os._exit(9)
            append(stream, records, row)

        try:
            Stream.append = dying
            replay, feeder = build(folder, num_envs=2, capacity=512), Feeder(LENGTHS, 2)
            replay.make_room = lambda: save(replay, feeder, path)
            save(replay, feeder, path)
            while True:
                feeder.feed(replay, 50)
                save(replay, feeder, path)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    reopened = build(folder, num_envs=2, capacity=512)
    feeder = load(reopened, path)
    whole = build(tmp_path / "whole", num_envs=2, capacity=512)
    Feeder(LENGTHS, 2).feed(whole, feeder.position[0][0])
    assert whole.total_written == feeder.position[0][0] * 2 <= kill_at
    assert_same_future(reopened, whole, feeder, rounds=8)


def test_load_brings_evicted_episodes_back_and_deletes_newer_segments(tmp_path):
    replay, feeder = build(tmp_path / "replay"), Feeder([20])
    feeder.feed(replay, 240)
    episodes = replay.episodes
    save(replay, feeder, tmp_path / "checkpoint.pt")
    feeder.feed(replay, 16)
    assert replay.episodes[0, 1] > 0  # episode 0 is gone
    assert (tmp_path / "replay/stream_0/segment_00000015.bin").exists()
    again = build(tmp_path / "replay")
    load(again, tmp_path / "checkpoint.pt")
    assert (again.episodes == episodes).all()
    assert not (tmp_path / "replay/stream_0/segment_00000015.bin").exists()


def test_an_unfinished_episode_goes_on(tmp_path):
    replay, feeder = build(tmp_path / "replay"), Feeder(LENGTHS)
    feeder.feed(replay, 12)
    save(replay, feeder, tmp_path / "checkpoint.pt")
    again = build(tmp_path / "replay")
    load(again, tmp_path / "checkpoint.pt").feed(again, 8)
    assert again.episodes.tolist() == [[0, 0, 20]]
    check_batch(again.sample(), 4, 8)


def test_load_into_the_same_object_goes_back(tmp_path):
    replay, feeder = build(tmp_path), Feeder(LENGTHS)
    feeder.feed(replay, 100)
    state, position = replay.state_dict(), copy.deepcopy(feeder.position)
    batch = replay.sample()
    feeder.feed(replay, 50)
    replay.load_state_dict(state)
    feeder.position = position
    assert torch.equal(replay.sample()["action"], batch["action"])
    feeder.feed(replay, 300)
    check_batch(replay.sample(), 4, 8)


def test_a_longer_batch_after_resume_keeps_only_episodes_that_fit(tmp_path):
    replay, feeder = build(tmp_path / "replay", capacity=1000, batch_length=8), Feeder(LENGTHS)
    feeder.feed(replay, 64)
    save(replay, feeder, tmp_path / "checkpoint.pt")
    again = build(tmp_path / "replay", capacity=1000, batch_length=24)
    load(again, tmp_path / "checkpoint.pt")
    assert again.episodes.tolist() == [[0, 20, 35]]
    check_batch(again.sample(), 4, 24)


def test_a_folder_with_records_is_not_overwritten(tmp_path):
    Feeder([20]).feed(build(tmp_path), 40)
    again = build(tmp_path)
    with pytest.raises(UserError, match="already holds a replay.*resume="):
        Feeder([20]).feed(again, 1)
    assert not again.ready
    assert len(list(tmp_path.rglob("*.bin"))) == 3
    again.clear()
    assert not list(tmp_path.rglob("*.bin"))
    Feeder([20]).feed(again, 20)
    check_batch(again.sample(), 4, 8)
    assert again.total_written == 20


def test_damage_is_said_and_changes_nothing(tmp_path):
    replay, feeder = build(tmp_path, num_envs=2, capacity=512), Feeder([20], 2)
    feeder.feed(replay, 60)
    state = replay.state_dict()
    feeder.feed(replay, 20)
    victim = tmp_path / "stream_1/segment_00000002.bin"
    content = victim.read_bytes()
    names = sorted(tmp_path.rglob("*.bin"))
    again = build(tmp_path, num_envs=2, capacity=512)
    for damage in (content[:-1], None):
        victim.unlink() if damage is None else victim.write_bytes(damage)
        with pytest.raises(UserError, match=r"segment_00000002\.bin"):
            again.load_state_dict(state)
    victim.write_bytes(content)
    assert sorted(tmp_path.rglob("*.bin")) == names
    again.load_state_dict(state)
    check_batch(again.sample(), 4, 8)
    with pytest.raises(UserError, match="num_envs=1"):
        build(tmp_path / "other").load_state_dict(state)


def test_flush_syncs_what_is_new_and_only_that(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    replay, feeder = build(tmp_path), Feeder([20])
    feeder.feed(replay, 20)
    synced.clear()
    replay.flush()
    stream = str(tmp_path / "stream_0")
    assert synced == [f"{stream}/segment_00000000.bin", f"{stream}/segment_00000001.bin", stream, str(tmp_path)]
    synced.clear()
    replay.flush()
    assert synced == []
    feeder.feed(replay, 1)
    replay.flush()
    assert synced == [f"{stream}/segment_00000001.bin"]
