"""The table of a study's runs: the state of each, and what is to be said of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from studying.plan import Places, Planned
from studying.records import Record
from utils.csv_log import read_columns
from utils.durations import about
from utils.errors import UserError

State = Literal["waiting", "running", "in use", "done", "failed", "blocked", "not needed"]

ORDER: tuple[State, ...] = ("done", "running", "in use", "waiting", "failed", "blocked", "not needed")


class Board:
    """States of runs by their names; every change is told in a line."""

    def __init__(
        self,
        runs: Sequence[Planned],
        places: Places,
        records: dict[str, Record],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.runs, self.places, self.records, self.say = list(runs), places, records, say
        self.states: dict[str, State] = {run.name: "waiting" for run in runs}
        self.notes: dict[str, str] = {}
        self._survey()

    def set(self, run: Planned, state: State, note: str = "") -> None:
        """``run`` is in another state now."""
        if (state, note) == (self.states[run.name], self.notes.get(run.name, "")):
            return
        self.states[run.name], self.notes[run.name] = state, note
        self.say(f"{time.strftime('%H:%M:%S')} {state:<10} {run.name}{_behind(self.detail(run))}   [{self.counts()}]")

    def of(self, *states: State) -> list[Planned]:
        """The runs in these states, in the order of the plan."""
        return [run for run in self.runs if self.states[run.name] in states]

    def add(self, record: Record) -> None:
        """A run is done."""
        self.records[record.run.name] = record
        self.set(record.run, "done")

    def counts(self) -> str:
        """``3 of 48 done, 2 running, 43 waiting``."""
        found = Counter(self.states.values())
        rest = (f", {found[state]} {state}" for state in ORDER[1:] if found[state])
        return f"{found['done']} of {len(self.runs)} done{''.join(rest)}"

    def table(self) -> str:
        """A line per run."""
        width = max((len(run.name) for run in self.runs), default=0)
        lines = [f"{self.states[r.name]:<10} {r.name:<{width}}  {self.detail(r)}".rstrip() for r in self.runs]
        return "\n".join([*lines, self.counts()])

    def detail(self, run: Planned) -> str:
        """What there is to say of a run in its state."""
        if self.notes.get(run.name):
            return self.notes[run.name]
        if self.states[run.name] == "done":
            record = self.records[run.name]
            curve = record.curve()
            reached = f", return {curve[max(curve)]:.0f} at {max(curve):,} frames" if curve else ""
            return f"{about(record.seconds)}{reached}"
        if self.states[run.name] in ("running", "in use") or (self.places.run(run) / "config.yaml").exists():
            frame = reached_frame(self.places.run(run))
            return f"frame {frame:,} of {run.frames:,}" if frame is not None and run.frames else ""
        return ""

    def missing(self, run: Planned) -> list[Path]:
        """Snapshots of the pre-training ``run`` that a run to come needs, and that are not there."""
        wanted = [other for other in self.runs if other.needs == run.name and self.states[other.name] != "done"]
        return sorted({path for path in map(self.places.snapshot, wanted) if not path.is_file()})

    def _survey(self) -> None:
        for run in reversed(self.runs):  # what needs a pre-training comes behind it
            if run.name in self.records:
                self.states[run.name] = "done"
                if run.kind == "pretrain" and (gone := self.missing(run)):
                    self.states[run.name] = "waiting"
                    if (self.places.run(run) / "config.yaml").exists():
                        self.states[run.name] = "failed"
                        self.notes[run.name] = (
                            f"{gone[0]} is gone: put it back, or move {self.places.run(run)} away to pre-train again"
                        )
            elif run.kind == "pretrain":
                later = [other for other in self.runs if other.needs == run.name]
                if later and all(self.states[other.name] == "done" for other in later):
                    self.states[run.name] = "not needed"


def reached_frame(run_dir: Path) -> int | None:
    """How far the logs of a run say it has come."""
    frames: list[float] = []
    for name in ("train.csv", "eval.csv"):
        try:
            frames += read_columns(run_dir / name).get("frame", [])[-1:]
        except (UserError, OSError, ValueError):
            continue
    return int(max(frames)) if frames else None


def total(runs: Iterable[Planned], seconds: Mapping[str, float]) -> float:
    """Seconds of all runs that are known."""
    return sum(seconds.get(run.name, 0.0) for run in runs)


def _behind(text: str) -> str:
    return f": {text}" if text else ""
