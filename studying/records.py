"""What is kept of a finished run: two small files, from which it counts as done wherever they are copied to.

``<run>.csv`` has a row per evaluation, ``<run>.json`` what the run was: its words, command, commit, hardware, hours.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from studying.plan import Planned
from training.checkpoint import git_commit, versions
from utils.atomic import atomic_path
from utils.csv_log import format_cell, read_columns
from utils.errors import UserError
from utils.machine import hardware

COLUMNS = {
    "pretrain": ("frame", "return"),
    "skills": ("skill", "return"),
    "finetune": ("frame", "return", "return_std", "skills_tried"),
}
"""Of the CSV, by the kind of run."""

TAKEN = {
    "frame": "frame",
    "return": "episode_reward",
    "return_std": "episode_reward_std",
    "skills_tried": "skills_tried",
}
"""Where they stand in ``eval.csv``."""

CHOICE = re.compile(r"skill chosen at frame (\d+): (.+?) \((.*)\)")
"""What a run says when it settles on a skill."""


class Record(NamedTuple):
    """A finished run."""

    run: Planned
    facts: dict[str, Any]
    """``command``, ``commit``, ``hardware``, ``versions``, ``seconds``, and whatever the run has told of itself."""
    rows: list[dict[str, float | str]]
    """Of the CSV; empty cells are left out."""

    @property
    def seconds(self) -> float:
        return float(self.facts["seconds"])

    def curve(self) -> dict[int, float]:
        """Returns by frame."""
        return {int(row["frame"]): float(row["return"]) for row in self.rows if "frame" in row and "return" in row}


def write(folder: Path, record: Record) -> None:
    """The CSV first: a run without its JSON is none."""
    stem = record.run.name
    with atomic_path(folder / f"{stem}.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        columns = COLUMNS[record.run.kind]
        table.writerow(columns)
        table.writerows([format_cell(row[key]) if key in row else "" for key in columns] for row in record.rows)
    facts = {"run": record.run._asdict(), **record.facts}
    with atomic_path(folder / f"{stem}.json") as path:
        path.write_text(json.dumps(facts, indent=1) + "\n")


def read(folder: Path) -> dict[str, Record]:
    """All records in a folder, by the names of their runs. Raises :class:`UserError` for one that is damaged."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            run = facts.pop("run", None) if isinstance(facts, dict) else None
            if run is None:
                continue  # of something else
            planned = Planned(**{**run, "words": tuple(run["words"])})
            with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
                rows = [_numbers(row) for row in csv.DictReader(file)]
            found[planned.name] = Record(planned, facts, rows)
            assert planned.name == path.stem and facts["seconds"] >= 0
        except (OSError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise UserError(
                f"{path} is no record of a run ({str(error) or 'it has another name'}). Put it back from a copy, or "
                "move it and its CSV away: the run is then made again."
            ) from error
    return found


def take(run: Planned, run_dir: Path, log: Path, command: str, seconds: float) -> Record:
    """What is to be kept of a run that has just ended well; ``seconds`` is how long it has taken, as far as is known.

    Raises :class:`UserError` where its files are not what they have to be.
    """
    rows: list[dict[str, float | str]] = []
    if run.kind == "skills":
        report = json.loads(run_dir.with_name(f"{run_dir.name}.json").read_text())
        rows = [{"skill": name, "return": row["mean"]} for name, row in report["played"].items()]
    elif (run_dir / "eval.csv").exists():
        columns = read_columns(run_dir / "eval.csv")
        taken = {key: columns[name] for key, name in TAKEN.items() if name in columns and key in COLUMNS[run.kind]}
        rows = [
            {key: value for key, value in zip(taken, values, strict=True) if value == value}
            for values in zip(*taken.values(), strict=True)
        ]
    if run.kind == "finetune" and not rows:
        raise UserError(f"{run_dir} has no evaluation. A study needs evaluate=true in fine-tuning.")
    facts = {
        "command": command,
        "commit": git_commit(),
        "hardware": hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": {name: value for name, value in versions().items() if name != "threads"},
        "seconds": max(seconds, logged_seconds(run_dir)),
        **_choice(log),
    }
    return Record(run, facts, rows)


def logged_seconds(run_dir: Path) -> float:
    """How long the run in a folder has been at work, by its logs, those before a resume included."""
    found = [0.0]
    for name in ("train.csv", "eval.csv"):
        if (run_dir / name).exists():
            found += [value for value in read_columns(run_dir / name).get("total_time", [])[-1:] if value == value]
    return max(found)


def differing(before: Sequence[str], now: Sequence[str]) -> str | None:
    """In words, the first thing in which the words of a run are not what they were."""
    if list(before) == list(now):
        return None
    gone, come = ([word for word in one if word not in other] for one, other in ((before, now), (now, before)))
    if not gone and not come:
        return "its overrides had another order"
    return f"it was {' '.join(gone) or 'without'}, and is {' '.join(come) or 'without'}"


def _choice(log: Path) -> Mapping[str, Any]:
    try:
        found = CHOICE.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
    if not found:
        return {}
    frame, skill, why = found[-1]
    return {"chosen_skill": {"frame": int(frame), "skill": skill, "why": why}}


def _numbers(row: Mapping[str, str]) -> dict[str, float | str]:
    return {key: value if key == "skill" else float(value) for key, value in row.items() if value}
