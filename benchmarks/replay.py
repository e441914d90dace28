"""What the replay costs: milliseconds per batch, microseconds and bytes per step, resident memory.

python benchmarks/replay.py

Own keys: ``steps`` (records written), ``batches`` (timed ones), ``folder`` (where the records lie meanwhile; null: the
system's temporary folder), ``device`` (where batches go), ``threads``, ``json=PATH``.

Records are random ones of the shapes that the scripts store, in whole episodes, and stay in the page cache: what is
measured is the work, not the disk. Nothing else is left behind.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # run as a file: ``replay`` would be this module then, not the package
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from utils.process import begin

    begin()

import numpy as np
import torch

from benchmarks import arguments
from benchmarks.clock import clock_of, timed
from benchmarks.machine import describe, provenance
from benchmarks.memory import STATUS, give_back_free, status
from benchmarks.tables import markdown
from replay import RecordSpec, Replay
from replay.records import record_spec
from training.settings import DEVICE
from utils.device import resolve_device
from utils.errors import exit_status
from utils.report import write_json
from utils.rules import COUNT, TEXT, optional

SPARE = 2
"""The replay has room for so many times the records, so that none is evicted meanwhile."""
DISTINCT = 32
"""Different images among the records."""
MAPPED, OWN = ("RssFile", "RssShmem"), ("RssAnon",)


class Case(NamedTuple):
    """Records and batches of one kind of run."""

    name: str
    side: int
    """Of the image, pixels."""
    actions: int
    physics: int
    """Numbers in the simulator's state."""
    episode: int
    """Records of an episode, the reset's included."""
    batch_size: int
    batch_length: int | None = None
    stack: int | None = None

    def spec(self) -> RecordSpec:
        return record_spec((3, self.side, self.side), "uint8", self.actions, 0, self.physics)


CASES = (
    Case("Dreamer 16 x 16", side=64, actions=6, physics=18, episode=501, batch_size=16, batch_length=16),
    Case("Dreamer 50 x 50", side=64, actions=6, physics=18, episode=501, batch_size=50, batch_length=50),
    Case("DrQ 128, stacks of 3", side=84, actions=1, physics=4, episode=251, batch_size=128, stack=3),
)
"""Walker from pixels with the small and the published batch, cartpole with DrQ's."""


def records(spec: RecordSpec, episode: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    """``count`` random records of one environment, arrays (1, ...), in whole episodes of ``episode`` records."""
    random = np.random.default_rng(0)
    shape, dtype = spec["observation"]
    images = random.integers(0, 256, (DISTINCT, 1, *shape), dtype=dtype)
    plain = {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in spec.items()}
    for index in range(count):
        within = index % episode
        first, last = np.array([within == 0]), np.array([within == episode - 1])
        yield {**plain, "observation": images[index % DISTINCT], "is_first": first, "is_last": last}


def measure(case: Case, steps: int, batches: int, folder: Path, device: torch.device) -> dict[str, Any]:
    """One row: ``steps`` records, rounded up to whole episodes, are written to ``folder`` and sampled from there."""
    steps += -steps % case.episode
    before = _resident()
    replay = Replay(
        folder,
        case.spec(),
        capacity=SPARE * steps,
        batch_size=case.batch_size,
        batch_length=case.batch_length,
        stack=case.stack,
        seed=0,
        device=device,
        episode_length=case.episode,
    )
    clock = clock_of(device)
    appended, append_cpu = _append(replay, list(records(case.spec(), case.episode, steps)))
    files = list(folder.glob("stream_*/segment_*.bin"))
    disk = sum(512 * path.stat().st_blocks for path in files)
    batch = replay.sample()
    nbytes = sum(value.nbytes for value in batch.values())
    del batch
    timed(replay.sample, 2, clock)
    sampled = timed(replay.sample, batches, clock)
    sample_cpu = timed(replay.sample, batches, time.thread_time)
    after = _resident()
    grown = {key: after[key] - before[key] for key in after} if before and after else {"own": None, "mapped": None}
    return {
        "case": case.name,
        "steps": steps,
        "sample_ms": 1e3 * statistics.median(sampled),
        "sample_cpu_ms": 1e3 * statistics.median(sample_cpu),
        "batch_bytes": nbytes,
        "append_us": 1e6 * statistics.fmean(appended),
        "append_cpu_us": 1e6 * append_cpu,
        "record_bytes": replay.layout.dtype.itemsize,
        "disk_bytes_per_step": disk / (len(files) * replay.layout.segment_steps),
        "own_bytes": grown["own"],
        "mapped_bytes": grown["mapped"],
    }


def _append(replay: Replay, written: list[dict[str, np.ndarray]]) -> tuple[list[float], float]:
    """Seconds that each of ``written`` took to add, shortest first, and the mean of this thread's processor time."""
    given, before = iter(written), time.thread_time()
    wall = timed(lambda: replay.add(next(given)), len(written), time.perf_counter)
    return wall, (time.thread_time() - before) / len(written)


def _resident() -> dict[str, int] | None:
    """Resident bytes: the process's own, and those of mapped files, which the system takes back when it needs them.

    None where there is no Linux to tell.
    """
    if not STATUS.exists():
        return None
    give_back_free()
    now = status()
    return {"own": sum(now[key] for key in OWN), "mapped": sum(now[key] for key in MAPPED)}


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the rows; appending and disk are per step."""
    titles = ("batch", "size", "sampling", "of it CPU", "appending", "of it CPU", "disk", "memory", "mapped files")
    cells = [
        [
            *(row["case"], f"{row['batch_bytes'] / 1e6:.1f} MB"),
            *(f"{row['sample_ms']:.2f} ms", f"{row['sample_cpu_ms']:.2f} ms"),
            *(f"{row['append_us']:.1f} us", f"{row['append_cpu_us']:.1f} us"),
            f"{row['disk_bytes_per_step'] / 1e3:.2f} kB",
            *("" if row[key] is None else f"{row[key] / 1e6:.1f} MB" for key in ("own_bytes", "mapped_bytes")),
        ]
        for row in rows
    ]
    return markdown(titles, cells)


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures, prints a table, and writes it with ``json=``. Raises :class:`UserError` before anything is written."""
    values = arguments.own(
        words,
        {"steps": 10_000, "batches": 50, "folder": None, "device": "cpu"},
        {"steps": COUNT, "batches": COUNT, "folder": optional(TEXT), "device": DEVICE},
    )
    arguments.check_folder(values)
    device = resolve_device(values["device"])
    rows = []
    with arguments.threads(values["threads"]):
        where = provenance(device)
        print(f"batches on {device.type}, {describe(where)}\n", flush=True)
        for case in CASES:
            with tempfile.TemporaryDirectory(dir=values["folder"]) as folder:
                rows.append(measure(case, values["steps"], values["batches"], Path(folder), device))
    print(show(rows))
    write_json(arguments.file_of(values), {"device": device.type, "rows": rows, **where})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
