"""A full-size replay of walker pixels, beyond its capacity: what it takes of memory, disk and time.

``pytest -s -m long tests/replay/test_replay_soak.py`` shows the figures; with SOAK_STEPS=50000 before it, the same at a
twentieth of the size (0.6 GB, a minute).
"""

import gc
import os
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from replay_feeder import bytes_on_disk

from replay import Replay, plan

CAPACITY = int(os.environ.get("SOAK_STEPS", 1_000_000))
WRITTEN = CAPACITY * 21 // 20
DISK_NEEDED = 20_000 * CAPACITY  # bytes: 12.5 kB a record, and something left for everybody else
EPISODE = 501
"""Records of a walker episode with action_repeat=2, the reset included."""
SPEC = {
    "observation": ((3, 64, 64), "uint8"),
    "action": ((6,), "float32"),
    "reward": ((), "float32"),
    "is_first": ((), "bool"),
    "is_last": ((), "bool"),
    "is_terminal": ((), "bool"),
    "physics": ((18,), "float64"),
}
BATCH, LENGTH = 50, 50
BATCH_BYTES = BATCH * LENGTH * 3 * 64 * 64
BLOCK = 1000  # records between two looks at the disk and the memory
WARM_UP, DRAWS, COLD_DRAWS = 5, 30, 5

MOST_WHILE_FILLING = 20e6  # bytes: the index of episodes is the only thing that grows, by 24 bytes each
MOST_WHILE_SAMPLING = 8 * BATCH_BYTES  # batches that the C library's heap keeps for the next ones; no more with time
MOST_MS = 40.0  # of the median draw on a machine with nothing else to do
MOST_BUSY_MS = 120.0  # where the time that others took of the CPU cannot be told apart

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc"),
]


class Camera:
    """Records of endless episodes: random images in turn, whose first 8 bytes are replaced by the record's number."""

    def __init__(self, images: int = 257, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.images = random.integers(0, 256, (images, *SPEC["observation"][0]), dtype=np.uint8)
        self.records = {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in SPEC.items()}
        self.records["action"][:] = random.uniform(-1, 1, 6)
        self.records["physics"][:] = random.normal(size=18)
        self._number = self.records["observation"].reshape(-1)[:8].view(np.int64)

    def record(self, number: int) -> dict[str, np.ndarray]:
        """Record ``number``, (1, ...); the arrays are those of the record before."""
        step = number % EPISODE
        self.records["observation"][0] = self.images[number % len(self.images)]
        self._number[0] = number
        self.records["reward"][0] = step
        self.records["is_first"][0] = step == 0
        self.records["is_last"][0] = step == EPISODE - 1
        return self.records

    def check(self, batch: dict[str, torch.Tensor], oldest: int, written: int) -> None:
        """Windows are runs of records of one episode, ``oldest`` or later, bit for bit as they were written."""
        assert {key: tuple(value.shape) for key, value in batch.items()} == {
            key: (BATCH, LENGTH, *shape) for key, (shape, _) in SPEC.items() if key != "physics"
        }
        flat = batch["observation"].flatten(2).numpy()
        numbers = flat[..., :8].copy().view(np.int64)[..., 0]
        assert (np.diff(numbers) == 1).all() and (numbers[:, 0] // EPISODE == numbers[:, -1] // EPISODE).all()
        assert oldest <= numbers.min() and numbers.max() < written
        assert len(np.unique(numbers[:, 0])) > BATCH // 2  # not one window again and again
        np.testing.assert_array_equal(batch["reward"].numpy(), numbers % EPISODE)
        np.testing.assert_array_equal(batch["is_last"].numpy(), numbers % EPISODE == EPISODE - 1)
        images = self.images.reshape(len(self.images), -1)
        for row, first in zip(flat, numbers[:, 0].tolist(), strict=True):
            for t in range(LENGTH):
                assert np.array_equal(row[t, 8:], images[(first + t) % len(images), 8:])


def status_bytes(key: str) -> int:
    """``RssAnon`` or ``RssFile`` of this process, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def available_bytes() -> int:
    """What the page cache may grow to, in bytes."""
    (line,) = (x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


class Clock:
    """Seconds of what is called through it: ``wall``, and ``own``, less those spent in the queue for a CPU.

    ``own`` is what the call takes on a machine with nothing else to do, waiting for a disk included.
    """

    SCHEDULER = Path("/proc/thread-self/schedstat")
    """Nanoseconds on a CPU, nanoseconds in the queue for one, turns; not in every kernel."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.own: list[float] = []

    def _queued(self) -> float:
        return int(self.SCHEDULER.read_text().split()[1]) / 1e9 if self.SCHEDULER.exists() else 0.0

    def __call__(self, function, *args):
        queued, start = self._queued(), time.perf_counter()
        result = function(*args)
        self.wall.append(time.perf_counter() - start)
        self.own.append(self.wall[-1] - (self._queued() - queued))
        return result


def drop_pages(directory: Path) -> None:
    """Take the segment files out of the page cache, where the file system allows it; nobody may have mapped them."""
    for path in directory.rglob("segment_*.bin"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # dirty pages stay
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


@pytest.fixture
def folder(tmp_path):
    """A folder with enough space, empty again afterwards: pytest would keep those of three runs."""
    free = shutil.disk_usage(tmp_path).free
    if free < DISK_NEEDED:
        pytest.skip(f"{free / 1e9:.0f} GB are free in {tmp_path}, {DISK_NEEDED / 1e9:.0f} GB are needed")
    yield tmp_path / "replay"
    shutil.rmtree(tmp_path / "replay", ignore_errors=True)


@pytest.fixture
def report(record_property):
    """``report(name, value)``: into the report of the tests, and printed."""

    def say(name: str, value: float) -> None:
        record_property(name, float(value))
        print(f"{name:>28} {value:12.2f}")

    return say


def open_replay(folder: Path, checkpoint) -> Replay:
    return Replay(
        folder, SPEC, capacity=CAPACITY, batch_size=BATCH, batch_length=LENGTH, seed=0, episode_length=EPISODE,
        make_room=checkpoint,
    )  # fmt: skip


def test_a_million_steps(folder, report):
    # where the page cache cannot hold the replay, there is no bound on the time
    cached = available_bytes() > 1.1 * plan(SPEC, capacity=CAPACITY, batch_length=LENGTH).nbytes
    flushes = Clock()

    def checkpoint() -> None:
        """As a training loop does, but for the file."""
        state = replay.state_dict()
        flushes(replay.flush)
        replay.release(state)

    camera, replay = Camera(), open_replay(folder, checkpoint)
    print(f"\n{replay.describe()}, {WRITTEN:,} records to write")

    # ---- filling, beyond the capacity
    blocks, disk_most, memory_most, memory = [], 0, 0, 0
    for number in range(WRITTEN):
        if number % BLOCK == 0:
            spent = 0.0
        record = camera.record(number)
        if replay.checkpoint_due:  # between two steps; what is timed is then the append alone
            checkpoint()
        start = time.perf_counter()
        replay.add(record)
        spent += time.perf_counter() - start
        if (number + 1) % BLOCK == 0:
            blocks.append(spent / BLOCK)
            disk_most = max(disk_most, bytes_on_disk(folder))
            assert disk_most <= replay.nbytes
            if number < BLOCK:
                memory = status_bytes("RssAnon")
            memory_most = max(memory_most, status_bytes("RssAnon") - memory)
    report("filling_anonymous_mb", memory_most / 1e6)
    report("disk_gb", disk_most / 1e9)
    report("disk_stated_gb", replay.nbytes / 1e9)
    report("append_us", 1e6 * statistics.median(blocks))
    report("append_fastest_us", 1e6 * min(blocks))
    report("flush_s", sum(flushes.wall))
    oldest = int(replay.episodes[0, 1])
    assert replay.total_written == WRITTEN > CAPACITY and oldest > 0  # it wrapped
    assert disk_most == replay.nbytes and 0.85 * CAPACITY < len(replay) <= CAPACITY
    assert memory_most < MOST_WHILE_FILLING

    # ---- sampling, pages in the cache
    memory, memory_most, draws = status_bytes("RssAnon"), 0, Clock()
    for _ in range(WARM_UP + DRAWS):
        batch = draws(replay.sample)
        memory_most = max(memory_most, status_bytes("RssAnon") - memory)
        camera.check(batch, oldest, WRITTEN)
        del batch
    wall, own = (1e3 * statistics.median(taken[WARM_UP:]) for taken in (draws.wall, draws.own))
    report("sampling_anonymous_mb", memory_most / 1e6)
    report("sample_ms", wall)
    report("sample_own_ms", own)
    assert memory_most < MOST_WHILE_SAMPLING
    if cached:
        assert own < (MOST_MS if Clock.SCHEDULER.exists() else MOST_BUSY_MS)

    # ---- sampling, pages on the disk: what a resumed run meets
    state = replay.state_dict()
    replay.flush()
    del replay
    gc.collect()  # a mapped page stays in the cache
    drop_pages(folder)
    replay = open_replay(folder, checkpoint)
    replay.load_state_dict(state)
    faults, draws = resource.getrusage(resource.RUSAGE_SELF).ru_majflt, Clock()
    for _ in range(COLD_DRAWS):
        draws(replay.sample)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults
    report("cold_sample_ms", 1e3 * statistics.median(draws.wall))
    report("cold_sample_own_ms", 1e3 * statistics.median(draws.own))
    report("cold_faults_a_sample", faults / COLD_DRAWS)
    camera.check(replay.sample(), oldest, WRITTEN)
    assert bytes_on_disk(folder) <= replay.nbytes
