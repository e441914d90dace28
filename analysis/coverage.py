"""``python -m analysis.coverage RUN_FOLDER ...``: how many distinct states the experience of a run covers.

Only reads: a run may be training meanwhile. What counts is what its ``checkpoint.pt`` knows.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.cells import coverage, measure
from analysis.run_folder import read_run
from replay.layout import Layout, read_layout
from replay.stored import live_records
from utils.errors import UserError, exit_status


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
    content = read_run(folder)
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
    chunks = list(live_records(directory, layout, cursor, ("physics", "is_first")))
    states = np.concatenate([np.zeros((0, *layout.dtype["physics"].shape)), *(part["physics"] for part in chunks)])
    taken = np.cumsum(np.concatenate([np.zeros(0, bool), *(~part["is_first"] for part in chunks)]))
    evicted = steps - (int(taken[-1]) if len(taken) else 0)
    if last is None or last >= steps:
        return StreamPhysics(states, steps - evicted, evicted)
    kept = max(0, last - evicted)
    # up to the record of step ``last``, without the reset that follows it
    end = int(np.searchsorted(taken, kept)) + 1 if kept else 0
    return StreamPhysics(states[:end], kept, evicted)


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
