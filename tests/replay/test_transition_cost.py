"""What stacks of frames cost: disk, memory beside the batch, and looking for them."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
from counted import reads_of_a_draw
from replay_feeder import SPEC, Feeder, build

from replay import Replay, plan
from replay.sampler import EpisodeIndex
from replay.transitions import TransitionSampler

PIXELS = {**SPEC, "observation": ((3, 84, 84), "uint8")}


def test_five_times_less_memory_than_pairs_of_stacks(tmp_path):
    """Against 9 * H * H * 2 bytes per transition, the stacks before and after it."""
    pairs = 9 * 84 * 84 * 2
    record = plan(PIXELS, capacity=100_000, stack=3).dtype.itemsize
    assert pairs / record > 5.9
    # What can be drawn depends on numbers of records alone, so small images will do. Cartpole, action_repeat=8.
    replay, feeder = build(tmp_path, batch_length=None, stack=3, capacity=8000, episode_length=126), Feeder([126])
    layout = replay.layout
    feeder.feed(replay, layout.segments * layout.segment_steps)
    fewest = layout.capacity
    for _ in range(2 * layout.segment_steps):
        feeder.feed(replay, 1)
        fewest = min(fewest, replay.sampler.index.transitions)
    taken = layout.segments * layout.segment_steps * record
    assert 5.0 < pairs / (taken / fewest) < 6.0


def fill_pixels(directory: Path, records: int) -> Replay:
    replay = Replay(directory, PIXELS, capacity=6000, batch_size=128, stack=3, seed=0)
    rows = {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in PIXELS.items()}
    for number in range(records):
        rows["observation"][:] = number % 256
        rows["is_first"][:], rows["is_last"][:] = number % 126 == 0, number % 126 == 125
        replay.add(rows)
    return replay


def test_frames_are_copied_once(tmp_path):
    replay = fill_pixels(tmp_path, 5000)
    batch = replay.sample()
    assert batch["observation"].shape == (128, 4, 3, 84, 84)
    tracemalloc.start()  # sees what NumPy allocates, not torch: the tensors of the batch do not count
    try:
        replay.sample()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 3 * 84 * 84  # not even the frames of one transition


def test_a_draw_bisects_the_episodes():
    """A few numbers of the index for every transition, more by a bit for every doubling of the episodes."""

    def reads(episodes: int) -> int:
        index = EpisodeIndex(2)
        for number in range(episodes):
            index.add(number % 2, number // 2 * 60, 60)
        return reads_of_a_draw(TransitionSampler(index, 3, seed=0), 128)

    for episodes in (40, 4000, 400_000):
        assert 128 <= reads(episodes) <= 128 * (3 + math.ceil(math.log2(episodes)))
