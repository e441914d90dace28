"""What became of the jobs of a sweep: each leaves a record in the sweep's folder, and at the end they are a table.

Jobs may run in other processes and on other machines; what they have in common is the folder.
"""

import csv
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from entry.words import Jobs
from utils.atomic import atomic_path
from utils.streams import protect
from utils.variant import differing

RECORDS = ".jobs"
"""Folder of the records, in that of the sweep."""

TABLE = "sweep.csv"
COLUMNS = ("job", "overrides", "state", "result", "folder", "message")

begun: list[Path] = []
"""The folder of the sweep that this process has begun."""


class Outcome:
    """What a job has come to. Its state is begun, finished, refused, failed or stopped; a job that says begun when its
    sweep is over was killed.
    """

    def __init__(self) -> None:
        self.state, self.message = "begun", ""
        self.result: float | None = None

    def finished(self, result: float | None) -> None:
        """It has run to its end, with this objective."""
        self.state, self.result = "finished", result

    def refused(self, message: str) -> None:
        """Something was wrong with what it was asked for, or with the machine."""
        self.state, self.message = "refused", message


@contextmanager
def recorded(sweep: Path, folder: Path) -> Iterator[Outcome]:
    """Say what the present job differs in from the others of the sweep in the folder ``sweep``, and record what
    becomes of it; ``folder`` is its own.
    """
    hydra, outcome = HydraConfig.get(), Outcome()
    words = [str(one.input_line) for one in differing()]
    if words:
        print(f"job {hydra.job.num}: {' '.join(words)}")

    def record() -> None:
        known = {"job": hydra.job.num, "overrides": words, "folder": str(folder)} | vars(outcome)
        with suppress(OSError):  # a job does not fail for want of it
            (sweep / RECORDS).mkdir(parents=True, exist_ok=True)
            with atomic_path(sweep / RECORDS / f"{hydra.job.num}.json") as path:
                path.write_text(json.dumps(known))

    record()
    try:
        yield outcome
    except BaseException as error:
        if outcome.state == "begun":
            outcome.state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            outcome.message = str(error) or type(error).__name__
        raise
    finally:
        record()


def conclude(sweep: Path, known: Jobs) -> None:
    """Write the table of the sweep in ``sweep``, and print it; nothing where no job has begun."""
    rows = _rows(sweep, known)
    if not any(row["state"] != "not begun" for row in rows):
        return
    protect(announce=True)  # jobs elsewhere have not
    where = sweep / TABLE
    try:
        with atomic_path(where) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({**row, "overrides": " ".join(row["overrides"])} for row in rows)
        print(f"sweep: {where}")
    except OSError as error:
        print(f"note: {where} could not be written ({error.strerror})")
    print("\n".join(_aligned(rows)))


def _rows(sweep: Path, known: Jobs) -> list[dict[str, Any]]:
    """One of each job that has begun, and where all are known, of those that have not."""
    records = [found for path in (sweep / RECORDS).glob("*.json") if (found := _read(path))]
    asked = [known.differing(number) for number in range(len(known.words))] if known.whole else []
    if asked:  # an earlier sweep in this folder may have had others
        records = [one for one in records if one["overrides"] in asked]
    there = [one["overrides"] for one in records]
    missing = [(number, words) for number, words in enumerate(asked) if words not in there]
    none = {"state": "not begun", "result": None, "folder": "", "message": ""}
    return sorted([*records, *({"job": n, "overrides": words, **none} for n, words in missing)], key=lambda r: r["job"])


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and set(COLUMNS) <= set(found):
            return {key: found[key] for key in COLUMNS}
    return None


def _aligned(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    cells = [("job", "state", "result", "overrides")]
    for row in rows:
        result = "" if row["result"] is None else f"{row['result']:.6g}"
        why = textwrap.shorten(str(row["message"]), 100, placeholder=" ...")
        cells.append((str(row["job"]), row["state"], result, " ".join(row["overrides"]) + (why and f"  ({why})")))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    for *first, last in cells:
        start = "  ".join(text.ljust(width) for text, width in zip(first, widths, strict=True))
        yield f"{start}  {last}".rstrip()
