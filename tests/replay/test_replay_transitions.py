"""Transitions between stacks: which are drawn, how often, and that every frame of them is the right one."""

import contextlib
import copy
import logging
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_feeder import SPEC, Feeder, build, bytes_on_disk, check_batch, record_at

from replay import Replay, plan
from replay.sampler import EpisodeIndex
from utils.errors import UserError


def open_transitions(directory: Path, stack: int = 3, **changes: object) -> Replay:
    """As ``build``: 16 segments of 16 records, 15 of them live."""
    return build(directory, **{"batch_length": None, "stack": stack, **changes})


def check_transitions(batch: dict[str, torch.Tensor], batch_size: int, stack: int) -> None:
    """Every row is a transition of one episode, bit for bit as written; what it says of itself is true."""
    assert batch.keys() == SPEC.keys() - {"physics", "is_first"}
    for key, value in batch.items():
        frames = (stack + 1,) if key == "observation" else ()
        assert value.shape == (batch_size, *frames, *SPEC[key][0])
        assert value.numpy().dtype == np.dtype(SPEC[key][1])
    for row in range(batch_size):
        env, number = (int(x) for x in batch["action"][row])  # of the record t + 1
        episode, step, length = (int(x) for x in batch["skill"][row])
        assert 1 <= step < length
        after = record_at(env, number, episode, step, length)
        for key in batch.keys() - {"observation"}:
            np.testing.assert_array_equal(batch[key][row].numpy(), after[key])
        for place, back in enumerate(range(stack, -1, -1)):
            seen = max(step - back, 0)  # the first frame stands for those before the episode
            frame = record_at(env, number - step + seen, episode, seen, length)["observation"]
            np.testing.assert_array_equal(batch["observation"][row, place].numpy(), frame)


def numbers(batch: dict[str, torch.Tensor]) -> list[tuple[int, int]]:
    """(stream, number of the record t + 1) of every transition: which transition it is."""
    return [(int(env), int(number)) for env, number in batch["action"]]


def all_transitions(replay: Replay, feeder: Feeder) -> list[tuple[int, int]]:
    """What can be drawn, one by one: finished episodes whose first record is live, in order of streams and time."""
    layout, found = replay.layout, []
    for env, (cursor, episodes, _) in enumerate(feeder.position):
        opened = -(-cursor // layout.segment_steps)
        live_from = max(0, opened - layout.live_segments) * layout.segment_steps
        start = 0
        for episode in range(episodes):
            length = feeder.length(env, episode)
            if start >= live_from:
                found += [(env, number) for number in range(start + 1, start + length)]
            start += length
    return found


def chi_square(counts: np.ndarray) -> float:
    mean = counts.sum() / counts.size
    return float(((counts - mean) ** 2 / mean).sum())


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 5),
    adds=st.integers(1, 600),
    seed=st.integers(0, 2**32),
)
def test_transitions_are_those_of_the_finished_episodes(lengths, num_envs, stack, adds, seed):
    with tempfile.TemporaryDirectory() as folder:
        replay = open_transitions(Path(folder), stack, capacity=200 * num_envs, num_envs=num_envs, seed=seed)
        feeder = Feeder(lengths, num_envs)
        feeder.feed(replay, adds)
        expected = all_transitions(replay, feeder)
        index = replay.sampler.index
        assert index.transitions == len(expected)
        streams, starts, steps = index.lookup_transitions(np.arange(len(expected))).T
        assert list(zip(streams.tolist(), (starts + steps + 1).tolist(), strict=True)) == expected
        if expected:
            batch = replay.sample()
            check_transitions(batch, 4, stack)
            assert set(numbers(batch)) <= set(expected)
        else:
            assert not replay.ready
            with pytest.raises(RuntimeError, match="ready"):
                replay.sample()


@settings(max_examples=60, deadline=None)
@given(
    work=st.lists(
        st.tuples(st.sampled_from(["add", "evict", "reload"]), st.integers(0, 2), st.integers(2, 30)), max_size=120
    )
)
def test_the_index_of_transitions_against_plain_lists(work):
    index, episodes, cursors = EpisodeIndex(3), [[], [], []], [0, 0, 0]
    for what, stream, size in work:
        if what == "add":
            start = cursors[stream] + size % 3  # gaps: episodes that were dropped
            index.add(stream, start, size)
            episodes[stream].append((start, size))
            cursors[stream] = start + size
        elif what == "evict":
            first = cursors[stream] - 2 * size
            index.evict(stream, first)
            episodes[stream] = [episode for episode in episodes[stream] if episode[0] >= first]
        else:
            index.load(index.table())
        expected = [
            (stream, start, step)
            for stream, rows in enumerate(episodes)
            for start, size in rows
            for step in range(size - 1)
        ]
        assert index.transitions == len(expected)
        found = index.lookup_transitions(np.arange(len(expected)))
        np.testing.assert_array_equal(found, np.array(expected, np.int64).reshape(-1, 3))


@pytest.mark.parametrize("stack", [1, 2, 3, 8])
def test_all_transitions_occur_the_first_and_the_last_of_episodes_too(tmp_path, stack: int):
    replay, feeder = open_transitions(tmp_path, stack, num_envs=2, capacity=512, batch_size=4000), Feeder([2, 9, 5], 2)
    feeder.feed(replay, 300)  # evicts
    batch = replay.sample()
    check_transitions({key: value[:300] for key, value in batch.items()}, 300, stack)
    assert set(numbers(batch)) == set(all_transitions(replay, feeder))
    steps, lengths = batch["skill"][:, 1], batch["skill"][:, 2]
    assert (steps == 1).any() and (steps == lengths - 1).any()
    assert batch["is_last"].equal(steps == lengths - 1) and batch["is_terminal"].any()


def test_transitions_are_drawn_uniformly_whatever_the_episode(tmp_path):
    replay, feeder = (
        open_transitions(tmp_path, num_envs=2, capacity=512, batch_size=2000, seed=1),
        Feeder([2, 60, 9], 2),
    )
    feeder.feed(replay, 290)
    expected = {transition: place for place, transition in enumerate(all_transitions(replay, feeder))}
    counts = np.zeros(len(expected))
    for _ in range(25):
        np.add.at(counts, [expected[transition] for transition in numbers(replay.sample())], 1)
    assert counts.sum() == 50_000 and len(expected) > 300
    freedom = len(expected) - 1
    # the normal approximation of chi-square: beyond 3.5 deviations by chance once in 4,000; on the low side, too even
    assert abs(chi_square(counts) - freedom) < 3.5 * (2 * freedom) ** 0.5


def test_the_shortest_episode_repeats_its_first_frame(tmp_path):
    replay = open_transitions(tmp_path)
    Feeder([2]).feed(replay, 2)
    batch = replay.sample()
    first, second = (torch.from_numpy(record_at(0, n, 0, n, 2)["observation"]) for n in (0, 1))
    assert not first.equal(second)
    assert batch["observation"][0].equal(torch.stack([first, first, first, second]))
    assert batch["action"].tolist() == [[0, 1]] * 4


def test_an_episode_of_one_record_has_no_transition(tmp_path, caplog):
    replay = open_transitions(tmp_path)
    with caplog.at_level(logging.WARNING):
        Feeder([1, 1, 3]).feed(replay, 10)
    assert replay.episodes.tolist() == [[0, 2, 3], [0, 7, 3]]
    assert [entry.message for entry in caplog.records if "1 record(s) is too short for a transition" in entry.message]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("stack", [1, 3])
def test_frames_on_both_sides_of_a_segment_boundary(tmp_path, stack: int):
    replay = open_transitions(tmp_path, stack, batch_size=512)
    Feeder([100]).feed(replay, 100)
    batch = replay.sample()
    check_transitions(batch, 512, stack)
    after = {number for _, number in numbers(batch)}
    for boundary in (16, 32, 48, 64, 80, 96):  # every way to cut stack + 1 frames in two
        assert {boundary + frames for frames in range(stack)} <= after


class Killed(Exception):
    """Raised where a process might die."""


@settings(max_examples=12, deadline=None)
@given(before=st.integers(0, 700), after=st.integers(0, 400), num_envs=st.integers(1, 2))
def test_a_resumed_replay_draws_the_same_bit_for_bit(before, after, num_envs):
    with tempfile.TemporaryDirectory() as folder:
        path, sizes = Path(folder) / "checkpoint.pt", {"capacity": 256 * num_envs, "num_envs": num_envs}
        killed, whole = (open_transitions(Path(folder) / name, **sizes) for name in ("killed", "whole"))
        killed.make_room = lambda: killed.release(killed.state_dict())
        feeder = Feeder([20, 2, 35, 1], num_envs)
        other = copy.deepcopy(feeder)
        feeder.feed(killed, before)
        other.feed(whole, before)
        for replay in (killed, whole):
            if replay.ready:
                replay.sample()
        state = killed.state_dict()
        killed.flush()
        torch.save(state, path)
        killed.release(state)

        def die() -> None:
            raise Killed

        killed.make_room = die  # at the latest where the next checkpoint would be written
        with contextlib.suppress(Killed):
            copy.deepcopy(feeder).feed(killed, after)  # forgotten
        if killed.ready:
            killed.sample()

        reopened = open_transitions(Path(folder) / "killed", **sizes)
        reopened.load_state_dict(torch.load(path, weights_only=True))
        for _ in range(4):
            assert (reopened.episodes == whole.episodes).all()
            assert reopened.ready == whole.ready
            if whole.ready:
                one, two = reopened.sample(), whole.sample()
                check_transitions(one, 4, 3)
                assert all(torch.equal(one[key], two[key]) for key in two)
            feeder.feed(reopened, 61)
            other.feed(whole, 61)


def test_sampler_state_from_before_a_draw_gives_it_again(tmp_path):
    replay = open_transitions(tmp_path, num_envs=2, capacity=512)
    Feeder([30], 2).feed(replay, 100)
    before = replay.sampler.state
    first, second = replay.sample(), replay.sample()
    assert numbers(first) != numbers(second)
    replay.sampler.state = before
    for batch in (first, second):
        again = replay.sample()
        assert all(torch.equal(again[key], batch[key]) for key in batch)


def test_same_seed_same_transitions_and_other_seed_others(tmp_path):
    drawn = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        replay = open_transitions(tmp_path / folder, seed=seed, batch_size=16)
        Feeder([9, 23]).feed(replay, 100)
        drawn.append(numbers(replay.sample()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_records_written_for_windows_can_be_drawn_as_transitions(tmp_path):
    windows, feeder = build(tmp_path), Feeder([20])
    feeder.feed(windows, 60)
    check_batch(windows.sample(), 4, 8)
    state = windows.state_dict()
    replay = open_transitions(tmp_path, stack=7)
    replay.load_state_dict(state)
    assert replay.sampler.index.transitions == 57
    feeder.feed(replay, 20)
    check_transitions(replay.sample(), 4, 7)


def test_a_batch_is_the_callers_and_survives_the_deletion_of_its_files(tmp_path):
    replay, feeder = open_transitions(tmp_path), Feeder([30])
    feeder.feed(replay, 90)
    first = replay.sample()
    kept = {key: value.clone() for key, value in first.items()}
    feeder.feed(replay, 900)
    replay.sample()
    assert not (tmp_path / "stream_0/segment_00000000.bin").exists()
    assert all(torch.equal(first[key], kept[key]) for key in kept)
    assert bytes_on_disk(tmp_path) == replay.nbytes


def test_one_thread_adds_while_another_draws(tmp_path):
    replay, feeder = open_transitions(tmp_path), Feeder([20, 35, 2])
    feeder.feed(replay, 100)
    failures: list[BaseException] = []
    done, draws = threading.Event(), 0

    def draw() -> None:
        nonlocal draws
        try:
            while not done.is_set():
                check_transitions(replay.sample(), 4, 3)
                draws += 1
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    feeder.feed(replay, 3000)
    done.set()
    thread.join()
    assert not failures and draws


# ---- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stack": 0}, "framestack=0 must be at least 1"),
        ({"stack": 7, "capacity": 40}, "capacity=40 is too small.*framestack=7. Set replay.capacity=48 .*framestack"),
        ({"episode_length": 251}, r"replay.capacity=256 is too small.*episode has 251.*Set replay.capacity=\d+"),
    ],
)
def test_impossible_settings_are_refused_in_words(tmp_path, changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        open_transitions(tmp_path / "replay", **changes)
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize("changes", [{"batch_length": 8}, {"stack": None}])
def test_windows_or_transitions_not_both_and_not_neither(tmp_path, changes: dict):
    with pytest.raises(ValueError, match="batch_length or stack"):
        open_transitions(tmp_path, **changes)


def test_stacks_need_an_observation(tmp_path):
    spec = {key: value for key, value in SPEC.items() if key != "observation"}
    with pytest.raises(ValueError, match="'observation'"):
        Replay(tmp_path, spec, capacity=256, batch_size=4, stack=3, seed=0)


@given(capacity=st.integers(6 * 17 * 2, 1_000_000), stack=st.integers(1, 16), num_envs=st.integers(1, 2))
def test_the_layout_is_that_of_windows_as_long_as_the_frames(capacity: int, stack: int, num_envs: int):
    layout = plan(SPEC, capacity=capacity, stack=stack, num_envs=num_envs)
    assert layout == plan(SPEC, capacity=capacity, batch_length=stack + 1, num_envs=num_envs)
    assert layout.segment_steps > stack


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_transitions_equal_cpu_transitions(tmp_path):
    cpu, cuda = open_transitions(tmp_path / "cpu"), open_transitions(tmp_path / "cuda", device="cuda")
    for replay in (cpu, cuda):
        Feeder([30, 2]).feed(replay, 200)
    for _ in range(20):
        expected, batch = cpu.sample(), cuda.sample()
        assert batch.keys() == expected.keys()
        assert all(batch[key].is_cuda and torch.equal(batch[key].cpu(), expected[key]) for key in expected)
