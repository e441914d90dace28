"""What is sampled: which windows, how often, and that they are what was written."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_feeder import SPEC, Feeder, build, check_batch, record_at

from replay.sampler import EpisodeIndex, WindowSampler


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    num_envs=st.integers(1, 3),
    batch_length=st.integers(1, 8),
    adds=st.integers(1, 600),
    seed=st.integers(0, 2**32),
)
def test_windows_are_contiguous_within_one_episode(lengths, num_envs, batch_length, adds, seed):
    with tempfile.TemporaryDirectory() as folder:
        replay = build(Path(folder), capacity=200 * num_envs, batch_length=batch_length, num_envs=num_envs, seed=seed)
        feeder = Feeder(lengths, num_envs)
        feeder.feed(replay, adds)
        assert replay.total_written == adds * num_envs
        if replay.ready:
            check_batch(replay.sample(), 4, batch_length)
        else:
            with pytest.raises(RuntimeError, match="ready"):
                replay.sample()
        check_index(replay, feeder, batch_length)


def check_index(replay, feeder: Feeder, batch_length: int) -> None:
    """The indexed episodes are exactly the finished, long enough ones whose first record is still live."""
    expected = []
    layout = replay.layout
    for env, (cursor, episodes, _) in enumerate(feeder.position):
        opened = -(-cursor // layout.segment_steps)
        live_from = max(0, opened - layout.live_segments) * layout.segment_steps
        start = 0
        for episode in range(episodes):
            length = feeder.length(env, episode)
            if length >= batch_length and start >= live_from:
                expected.append((env, start, length))
            start += length
    np.testing.assert_array_equal(replay.episodes, np.array(expected, np.int64).reshape(-1, 3))
    assert replay.num_episodes == len(expected)
    assert len(replay) == sum(length for _, _, length in expected)


def test_steps_count_transitions(tmp_path):
    replay = build(tmp_path)
    Feeder([11]).feed(replay, 25)  # 11 + 11 + 3 records: 10 + 10 + 2 transitions
    assert (replay.steps, replay.total_written, len(replay), replay.num_episodes) == (22, 25, 22, 2)


def chi_square(counts: np.ndarray) -> float:
    mean = counts.sum() / counts.size
    return float(((counts - mean) ** 2 / mean).sum())


def test_episodes_are_drawn_uniformly_whatever_their_length():
    index = EpisodeIndex(3)
    lengths = [5, 500, 7, 30, 5, 1000, 12, 9, 80, 6, 5, 40]
    starts = [0, 0, 0]
    for episode, length in enumerate(lengths):
        index.add(episode % 3, starts[episode % 3], length)
        starts[episode % 3] += length
    streams, first, records = WindowSampler(index, batch_length=5, seed=1).draw(24_000).T
    assert (records == 5).all()
    table = index.table()
    counts = np.array(
        [np.sum((streams == env) & (first >= start) & (first < start + size)) for env, start, size in table]
    )
    assert counts.sum() == 24_000
    assert chi_square(counts) < 35.6  # 11 degrees of freedom: exceeded by chance once in 5,000


def test_starts_are_uniform_and_both_ends_occur():
    index = EpisodeIndex(1)
    index.add(0, 100, 14)
    starts = WindowSampler(index, batch_length=5, seed=2).draw(20_000)[:, 1]
    counts = np.bincount(starts - 100)
    assert counts.size == 10 and counts.all()  # 0 .. 14 - 5, inclusive
    assert chi_square(counts) < 32.0  # 9 degrees of freedom: once in 5,000


def test_an_episode_of_exactly_batch_length_has_one_window(tmp_path):
    replay = build(tmp_path, batch_length=8)
    Feeder([8]).feed(replay, 8)
    batch = replay.sample()
    check_batch(batch, 4, 8)
    assert (batch["reward"][:, 0] == 0).all()


def test_windows_straddle_segments(tmp_path):
    replay = build(tmp_path, batch_size=64)
    Feeder([40]).feed(replay, 40)
    batch = replay.sample()
    check_batch(batch, 64, 8)
    starts = batch["action"][:, 0, 1].numpy()
    assert np.any((starts % 16 > 8) & (starts < 32))


def test_short_episodes_are_dropped_and_logged_once(tmp_path, caplog):
    replay = build(tmp_path)
    with caplog.at_level(logging.WARNING):
        Feeder([3, 5, 20, 4]).feed(replay, 64)
    assert replay.num_episodes == 2
    assert len([entry for entry in caplog.records if "batch_length=8" in entry.message]) == 1


def test_an_episode_larger_than_the_replay_is_dropped_whole(tmp_path, caplog):
    replay = build(tmp_path)
    Feeder([1000, 10]).feed(replay, 1010)
    assert replay.episodes.tolist() == [[0, 1000, 10]]
    assert any("raise replay.capacity" in entry.message for entry in caplog.records)


def test_a_cut_off_episode_is_never_sampled(tmp_path):
    replay = build(tmp_path)
    feeder = Feeder([20])
    feeder.feed(replay, 15)
    feeder.position[0][1:] = [1, 0]  # the environment was reset
    feeder.feed(replay, 20)
    assert replay.episodes.tolist() == [[0, 15, 20]]


@pytest.mark.parametrize("flag", ["is_last", "is_terminal"])
def test_either_flag_ends_an_episode(tmp_path, flag: str):
    replay = build(tmp_path)
    feeder = Feeder([12])
    for number in range(12):
        records = feeder.next_records()
        ends = {key: np.array([key == flag and number == 11]) for key in ("is_last", "is_terminal")}
        replay.add({**records, **ends})
        feeder.position[0][0] += 1
        feeder.position[0][2] += 1
    assert replay.episodes.tolist() == [[0, 0, 12]]


def test_same_seed_same_batches_and_other_seed_others(tmp_path):
    batches = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        replay = build(tmp_path / folder, seed=seed, num_envs=2)
        Feeder([9, 23], 2).feed(replay, 100)
        batches.append([replay.sample() for _ in range(3)])
    for one, two in zip(batches[0], batches[1], strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(batches[0][0]["action"], batches[2][0]["action"])


def test_sampler_state_from_before_a_draw_gives_it_again(tmp_path):
    replay = build(tmp_path)
    Feeder([30]).feed(replay, 100)
    before = replay.sampler.state
    first = replay.sample()
    assert replay.state_dict()["sampler"] == replay.sampler.state != before
    replay.sampler.state = before
    assert torch.equal(replay.sample()["action"], first["action"])


def test_batches_are_not_overwritten_by_later_ones(tmp_path):
    replay = build(tmp_path)
    Feeder([30]).feed(replay, 90)
    first = replay.sample()
    copy = {key: value.clone() for key, value in first.items()}
    Feeder([30]).feed(replay, 600)
    replay.sample()
    assert all(torch.equal(first[key], copy[key]) for key in copy)


def test_mask_writes_only_the_selected_environments(tmp_path):
    replay = build(tmp_path, num_envs=3)
    feeder = Feeder([10], 3)
    feeder.feed(replay, 10, np.array([True, False, True]))
    feeder.feed(replay, 4, np.array([False, True, False]))
    feeder.feed(replay, 1, np.zeros(3, bool))
    assert replay.episodes.tolist() == [[0, 0, 10], [2, 0, 10]]
    feeder.feed(replay, 6, np.array([True, True, False]))
    assert replay.episodes.tolist() == [[0, 0, 10], [1, 0, 10], [2, 0, 10]]
    check_batch(replay.sample(), 4, 8)


def test_read_gives_physics_too(tmp_path):
    replay = build(tmp_path)
    Feeder([40]).feed(replay, 40)
    records = replay.read(*replay.episodes[0])
    for number in range(40):
        expected = record_at(0, number, 0, number, 40)
        for key in SPEC:
            np.testing.assert_array_equal(records[key][number], expected[key])
    with pytest.raises(IndexError, match="not among"):
        replay.read(0, 0, 41)


def test_records_that_do_not_fit_are_refused_and_not_written(tmp_path):
    replay = build(tmp_path, num_envs=2)
    feeder = Feeder([10], 2)
    good = feeder.next_records()
    bad: list[tuple[dict, str]] = [
        ({**good, "extra": good["reward"]}, "record keys .*extra"),
        ({key: good[key] for key in good if key != "skill"}, "record keys"),
        ({**good, "reward": good["reward"].astype(np.float64)}, "'reward': float64 .*expected float32"),
        ({**good, "action": good["action"][:, :1]}, r"'action'.*expected float32 \(2, 2\)"),
        ({**good, "is_first": np.array([True, False])}, "environment 1.*is_first"),
    ]
    for records, message in bad:
        with pytest.raises(ValueError, match=message):
            replay.add(records)
    with pytest.raises(ValueError, match="mask"):
        replay.add(good, np.ones(3, bool))
    assert replay.total_written == 0
    feeder.feed(replay, 10)
    assert replay.num_episodes == 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_batches_equal_cpu_batches(tmp_path):
    cpu, cuda = build(tmp_path / "cpu"), build(tmp_path / "cuda", device="cuda")
    for replay in (cpu, cuda):
        Feeder([30]).feed(replay, 200)
    for _ in range(20):
        expected, batch = cpu.sample(), cuda.sample()
        assert all(batch[key].is_cuda and torch.equal(batch[key].cpu(), expected[key]) for key in expected)
