"""What a study's folder remembers: the runs that were begun, with their words, and how long they have been at work."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studying.plan import Planned
from studying.records import Record, differing
from utils.atomic import atomic_path
from utils.errors import UserError

NAME = "study.json"
MOST_NAMED = 3


class News(NamedTuple):
    """How a plan compares with what was begun."""

    new: list[str]
    """Runs that were not in the study when it was last started; all of them at its first start."""
    gone: list[str]
    """Runs that are not in it any more."""


class Journal:
    """``study.json`` of a folder; one process at a time writes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.settings: dict[str, Any] = {}
        """Those of the last start."""
        self.planned: list[str] = []
        """Runs of the last start."""
        self.begun: dict[str, dict[str, Any]] = {}
        """``words`` and ``seconds`` of every run that was started."""
        self.estimates: dict[str, float] = {}
        """Seconds of runs, as a dry run has foretold them."""
        if self.path.exists():
            try:
                stored = json.loads(self.path.read_text(encoding="utf-8"))
                self.settings, self.planned = dict(stored["settings"]), list(stored["planned"])
                self.begun, self.estimates = dict(stored["begun"]), dict(stored["estimates"])
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path} cannot be read ({error}). Put it back from a copy, or set name=<another>."
                ) from error

    def check(self, runs: Sequence[Planned], records: Mapping[str, Record], study: str) -> News:
        """Compare a plan with what was begun or is done. Raises :class:`UserError` where a run would be another one
        under the same name.
        """
        for run in runs:
            before = records[run.name].run.words if run.name in records else self.begun.get(run.name, {}).get("words")
            change = None if before is None else differing(before, run.words)
            if change is not None:
                raise UserError(
                    f"{run.name} was begun with other settings: {change}. Put them back, or begin another study: "
                    f"name={study}_2."
                )
        names = [run.name for run in runs]
        return News([name for name in names if name not in self.planned], [n for n in self.planned if n not in names])

    def started(self, run: Planned) -> None:
        """A run is about to be started, or to go on."""
        self.begun.setdefault(run.name, {"seconds": 0.0})["words"] = list(run.words)
        self.write()

    def worked(self, run: Planned, seconds: float) -> float:
        """A run has been at work for so long; returns how long altogether."""
        entry = self.begun[run.name]
        entry["seconds"] += seconds
        self.write()
        return float(entry["seconds"])

    def write(self) -> None:
        """All of it, atomically."""
        kept = {key: getattr(self, key) for key in ("settings", "planned", "begun", "estimates")}
        with atomic_path(self.path) as path:
            path.write_text(json.dumps(kept, indent=1) + "\n")
