"""The replay eats no memory, and a draw costs the same however many episodes there are."""

import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from counted import reads_of_a_draw
from replay_feeder import SPEC, Feeder, build, check_batch

from replay import Replay
from replay.sampler import EpisodeIndex, WindowSampler

PIXELS = {**SPEC, "observation": ((3, 64, 64), "uint8")}


def pixel_records(number: int, length: int) -> dict[str, np.ndarray]:
    records = {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in PIXELS.items()}
    records["observation"][:] = number % 256
    records["is_first"][:] = number % length == 0
    records["is_last"][:] = number % length == length - 1
    return records


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    pytest.skip("no RssAnon in /proc/self/status")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_filling_takes_no_anonymous_memory(tmp_path):
    replay = Replay(tmp_path, PIXELS, capacity=4000, batch_size=4, batch_length=50, seed=0)
    for number in range(200):
        replay.add(pixel_records(number, 100))
    before = anonymous_bytes()
    for number in range(200, 6000):  # 71 MB, half as much again as the capacity
        replay.add(pixel_records(number, 100))
    assert anonymous_bytes() - before < 8e6


def test_the_published_batch_is_copied_once(tmp_path):
    replay = Replay(tmp_path, PIXELS, capacity=6000, batch_size=50, batch_length=50, seed=0)
    for number in range(1000):
        replay.add(pixel_records(number, 250))
    assert replay.sample()["observation"].shape == (50, 50, 3, 64, 64)
    tracemalloc.start()  # sees what NumPy allocates, not torch: the tensors of the batch do not count
    try:
        replay.sample()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * 3 * 64 * 64  # not even the images of one window


def test_a_draw_does_not_touch_all_episodes():
    """Ten thousand times the episodes, the same two numbers (start and length) for every window."""

    def reads(episodes: int) -> int:
        index = EpisodeIndex(2)
        for number in range(episodes):
            index.add(number % 2, number // 2 * 60, 60)
        return reads_of_a_draw(WindowSampler(index, 50, seed=0), 50)

    assert reads(100_000) == reads(10) == 2 * 50


def test_the_index_does_not_grow_while_episodes_come_and_go():
    index = EpisodeIndex(1)
    for number in range(20_000):
        index.add(0, number * 10, 10)
        index.evict(0, (number - 50) * 10)
    assert index._rows[0].nbytes <= 16 * 256
    assert len(index) == 51 and index.records == 510
    assert index.table()[:, 1].tolist() == [number * 10 for number in range(19_949, 20_000)]


def test_one_thread_adds_while_another_samples(tmp_path):
    replay, feeder = build(tmp_path), Feeder([20, 35, 9])
    feeder.feed(replay, 100)
    failures: list[BaseException] = []
    done = threading.Event()

    def sample() -> None:
        try:
            while not done.is_set():
                check_batch(replay.sample(), 4, 8)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sample)
    thread.start()
    feeder.feed(replay, 3000)
    done.set()
    thread.join()
    assert not failures
