"""``python -m analysis.coverage RUN_FOLDER|SNAPSHOT.pt ...``: how many distinct states and places the experience of a
run covers, or the skills of a snapshot, of which each plays an episode.

Of a run it only reads: that may be training meanwhile. What counts is what its ``checkpoint.pt`` knows.
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

from analysis.cells import MEASURES, coverage
from analysis.places import ROOTS, visited
from analysis.run_folder import read_run
from analysis.skill_coverage import draw, skill_coverage
from analysis.snapshot_tool import add_named, check_request, progress
from replay.layout import Layout, read_layout
from replay.stored import live_records
from utils.errors import UserError, exit_status, unknown_value
from utils.report import write_json


class RunCoverage(NamedTuple):
    """What :func:`run_coverage` found."""

    folder: Path
    frames: int
    """Frames whose states were counted."""
    bins: int | None
    """Distinct cells (see :mod:`analysis.cells`); None for a body without a grid."""
    evicted: int
    """Frames the replay no longer holds: the first of the run, not counted."""
    places: int | None = None
    """Squares of a metre (see :mod:`analysis.places`); None for a body that does not move about."""
    floor: str = "default"

    def line(self) -> str:
        """One line for people."""
        gone = f"  (the replay has wrapped: its first {self.evicted} frames are gone)" if self.evicted else ""
        counts = {"bins": self.bins, "places of 1 m": self.places}
        told = "".join(f"  {count} {what}" for what, count in counts.items() if count is not None)
        floor = "" if self.floor == "default" else f"  floor={self.floor}"
        return f"{self.folder}  {self.frames} frames{told}{floor}{gone}"


def run_coverage(folder: Path, frames: int | None = None) -> RunCoverage:
    """Coverage of the experience in ``folder``, up to frame ``frames`` of the run (None: to the checkpoint).

    Raises:
        UserError: no run, no checkpoint, no stored simulator states, a domain without a measure, missing segments.
    """
    content = read_run(folder)
    state, settings = content["replay"], content["config"]
    domain = settings["domain"]
    if domain not in MEASURES and domain not in ROOTS:  # before the large files are read
        raise unknown_value("domain", domain, sorted({*MEASURES, *ROOTS}))
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
    states = np.concatenate([part.states for part in found])
    return RunCoverage(
        folder,
        repeat * sum(part.counted for part in found),
        coverage(domain, states) if domain in MEASURES else None,
        repeat * sum(part.evicted for part in found),
        visited(domain, states) if domain in ROOTS else None,
        settings.get("floor", "default"),
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
    made.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER|SNAPSHOT.pt")
    made.add_argument("--frames", type=int, help="count the experience up to this frame of the run (default: all)")
    made.add_argument("--skills", type=int, default=48, help="of a snapshot: how many are played (default: 48)")
    made.add_argument("--seed", type=int, default=0, help="of starts and of continuous skills (default: 0)")
    made.add_argument("--json", type=Path, metavar="PATH", help="write the numbers of one snapshot to this file")
    made.add_argument("--png", type=Path, metavar="PATH", help="draw where its skills go, to this file and as PDF")
    add_named(made)
    return made


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """One line per run folder or snapshot: its name, the frames or episodes counted, what they cover."""
    options = parser().parse_args(arguments)
    if options.frames is not None and options.frames <= 0:
        raise UserError(f"--frames={options.frames} is not possible. Set it to a whole number above 0.")
    played = [path for path in options.folders if path.suffix == ".pt"]
    outputs = {"--json": options.json, "--png": options.png}
    check_request(options.seed, outputs)
    for option, path in outputs.items():
        if path is not None and len(options.folders) != 1:
            raise UserError(f"{option}={path} is for one snapshot, and there are {len(options.folders)}. Name one.")
        if path is not None and not played:
            raise UserError(f"{option}={path}: {options.folders[0]} is no snapshot. Name a file, snapshot_<frames>.pt.")
    if options.png is not None and options.png.suffix != ".png":
        raise UserError(f"--png={options.png} is not possible. Give it a name that ends in .png.")
    for folder in options.folders:
        if folder not in played:
            print(run_coverage(folder, options.frames).line())
            continue
        found = skill_coverage(folder, options.skills, options.seed, named=options.named, tell=progress)
        print(found.line())
        write_json(options.json, found.facts)
        if options.png is not None:
            print(f"figure: {draw(found, options.png.with_suffix(''))}")


if __name__ == "__main__":
    sys.exit(main())
