"""``python -m analysis.coverage RUN_FOLDER ...``: how many distinct states the experience of a run covers.

Only reads: a run may be training meanwhile. What counts is what its ``checkpoint.pt`` knows.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.cells import coverage, measure
from replay.layout import Layout, read_layout
from replay.storage import Stream
from training import checkpoint
from training.run import CHECKPOINT
from utils.config import CONFIG_FILE
from utils.errors import UserError, exit_status
from utils.regular import check_file

CHUNK = 4096
"""Records looked at at once; each brings a page or two of the file into memory."""


class RunCoverage(NamedTuple):
    """What :func:`run_coverage` found."""

    folder: Path
    frames: int
    """Frames whose states were counted."""
    bins: int
    """Distinct cells (see :mod:`analysis.cells`)."""
    evicted: int
    """Frames the replay no longer holds: the first of the run, not counted."""

    def line(self) -> str:
        """One line for people."""
        gone = f"  (the replay has wrapped: its first {self.evicted} frames are gone)" if self.evicted else ""
        return f"{self.folder}  {self.frames} frames  {self.bins} bins{gone}"


def run_coverage(folder: Path, frames: int | None = None) -> RunCoverage:
    """Coverage of the experience in ``folder``, up to frame ``frames`` of the run (None: to the checkpoint).

    Raises:
        UserError: no run, no checkpoint, no stored simulator states, a domain without a measure, missing segments.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{folder} holds no run ({CONFIG_FILE} is missing). Name a run folder.")
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UserError(f"{folder} has no {CHECKPOINT} yet. Wait for the run's first one.")
    content = checkpoint.load(path, "checkpoint")
    if "replay" not in content:
        raise UserError(
            f"{folder} is a run without a replay, which keeps no states to count. Name one of another script."
        )
    state, settings = content["replay"], content["config"]
    domain = settings["domain"]
    measure(domain)  # before the large files are read
    layout = read_layout(folder / "replay")
    if "physics" not in (layout.dtype.names or ()):
        raise UserError(
            f"{folder}: its replay holds no simulator states. They are stored with replay.store_physics=true, where "
            "the environment gives them."
        )
    repeat, streams = settings["action_repeat"], state["streams"]
    last = None if frames is None else frames // repeat // len(streams)
    found = [
        physics_of(folder / "replay" / f"stream_{env}", layout, saved["cursor"], state["steps"] // len(streams), last)
        for env, saved in enumerate(streams)
    ]
    return RunCoverage(
        folder,
        repeat * sum(part.counted for part in found),
        coverage(domain, np.concatenate([part.states for part in found])),
        repeat * sum(part.evicted for part in found),
    )


class StreamPhysics(NamedTuple):
    """States of one environment."""

    states: np.ndarray
    """float64 (N, S); those after resets included."""
    counted: int
    """Steps among them (resets are none)."""
    evicted: int
    """Steps before them that the replay no longer holds."""


def physics_of(directory: Path, layout: Layout, cursor: int, steps: int, last: int | None = None) -> StreamPhysics:
    """The states of the stream in ``directory`` that can still be sampled, up to its step ``last`` (None: all).

    Args:
        cursor: records written ever, as the checkpoint knows it.
        steps: the same without those of resets.

    Raises:
        UserError: a segment file is missing or has another size.
    """
    chunks = list(_chunks(directory, layout, cursor))
    states = np.concatenate([np.zeros((0, *layout.dtype["physics"].shape)), *(states for states, _ in chunks)])
    taken = np.cumsum(np.concatenate([np.zeros(0, bool), *(is_step for _, is_step in chunks)]))
    evicted = steps - (int(taken[-1]) if len(taken) else 0)
    if last is None or last >= steps:
        return StreamPhysics(states, steps - evicted, evicted)
    kept = max(0, last - evicted)
    # up to the record of step ``last``, without the reset that follows it
    end = int(np.searchsorted(taken, kept)) + 1 if kept else 0
    return StreamPhysics(states[:end], kept, evicted)


def _chunks(directory: Path, layout: Layout, cursor: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """States (n, S) of the live records before ``cursor`` and whether each is a step's (n,), in order."""
    stream = Stream(directory, layout)
    stream.cursor = cursor  # which segments are live follows from it; nothing is opened by the stream itself
    for number in range(stream.first_live, stream.opened):
        path = directory / f"segment_{number:08d}.bin"
        try:
            check_file(path, "It holds records of the run.")
            segment = np.memmap(path, layout.dtype, mode="r", shape=(layout.segment_steps,))
        except (OSError, ValueError, UserError) as error:
            raise UserError(
                f"{path} is missing or damaged. If the run is training, it may have just dropped it: try again."
            ) from error
        end = min(layout.segment_steps, cursor - number * layout.segment_steps)
        for begin in range(0, end, CHUNK):
            records = segment[begin : min(begin + CHUNK, end)]
            yield np.array(records["physics"]), ~np.array(records["is_first"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m analysis.coverage", description=__doc__)
    made.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    made.add_argument("--frames", type=int, help="count the experience up to this frame of the run (default: all)")
    return made


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """One line per run folder: its name, the frames counted, the distinct bins."""
    options = parser().parse_args(arguments)
    if options.frames is not None and options.frames <= 0:
        raise UserError(f"--frames={options.frames} is not possible. Set it to a whole number above 0.")
    for folder in options.folders:
        print(run_coverage(folder, options.frames).line())


if __name__ == "__main__":
    sys.exit(main())
