"""Returns of runs and what is known of each, read from run folders, sweeps, studies, or a table of returns."""

import csv
import glob
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from envs.make import DOMAINS, resolve_task
from training.older import current_settings
from utils.config import CONFIG_FILE
from utils.csv_log import read_columns
from utils.errors import UserError
from utils.latest import configs_under
from utils.plain_yaml import read

RETURN = "episode_reward"
"""The column that is compared where no other is named."""

RETURNS = "returns.csv"
"""Table of all evaluations that the report of a study has."""

WANTED = ("run", "agent", "task", "seed", "frame", "return")
"""Columns of such a table."""

LOGS = ("eval.csv", "train.csv")

SNAPSHOT = "snapshot_ts"
"""Fact of a run that was fine-tuned: frames, or updates, of the snapshot; 0 from scratch."""

VARIANT = "variant"

ADVICE = "Name run folders, folders of them, the results of a study, or its returns.csv."

_FRAMES = re.compile(r"snapshot_(\d+)\.pt$")


class Result(NamedTuple):
    """A run, or what is kept of one."""

    name: str
    """Where it was found, or what its study calls it."""
    facts: Mapping[str, Any]
    """Its settings by dotted keys, ``agent`` and ``task`` among them."""
    curve: Mapping[float, float]
    """The compared value by frame; at least one."""
    log: str = LOGS[0]
    """The kind of log that it comes from."""

    @property
    def task(self) -> str:
        """What it is evaluated on."""
        return str(self.facts.get("task"))

    @property
    def last(self) -> float:
        """The last frame of its curve."""
        return max(self.curve)


class Found(NamedTuple):
    """What some words on a command line stand for."""

    results: list[Result]
    notes: list[str]
    """What was left out, and why."""


def find(words: Sequence[str], column: str = RETURN, log: str | None = None) -> Found:
    """The runs that ``words`` name: paths and patterns of run folders, of folders that hold runs at any depth, of
    ``results_dir`` of studies and their :data:`RETURNS`. A run that is named twice is there once.

    ``log`` is the CSV that is read in run folders; None takes ``eval.csv``, or ``train.csv`` of a run without a single
    evaluation. Raises :class:`UserError` for a word that stands for nothing.
    """
    results: dict[str, Result] = {}
    notes: dict[str, None] = {}
    for word in words:
        found = [one for path in _paths(word) for one in _read(path, column, log)]
        if not found:
            raise UserError(f"{word} holds no run. {ADVICE}")
        results |= {one.name: one for one in found if isinstance(one, Result)}
        notes |= dict.fromkeys(one for one in found if isinstance(one, str))
    if not results:
        raise UserError(f"there is nothing to compare: {next(iter(notes))}. {ADVICE}")
    return Found(list(results.values()), list(notes))


def _paths(word: str) -> list[Path]:
    path = Path(word).expanduser()
    found = [path] if path.exists() else [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]
    if not found:
        raise UserError(f"{word}: there is no such file or folder. {ADVICE}")
    return found


def _read(path: Path, column: str, log: str | None) -> Iterator[Result | str]:
    """Runs, and notes on those that have nothing to compare."""
    if path.is_file():
        yield from table(path, column)
        return
    places = [path / "results", path] if (path / "study.json").is_file() else [path]
    kept = next((found for place in places if (found := list(records(place, column)))), [])
    if kept:
        yield from kept
    elif (path / RETURNS).is_file():
        yield from table(path / RETURNS, column)
    else:
        for config in sorted(configs_under(path)):
            yield run(config.parent, column, log)


def run(folder: Path, column: str = RETURN, log: str | None = None) -> Result | str:
    """The run in ``folder``; a note where it has no value yet. Raises :class:`UserError` for what is no run folder."""
    config = current_settings(read(folder / CONFIG_FILE, ADVICE))
    lacking = ""
    for name in LOGS if log is None else (log,):
        columns = read_columns(folder / name) if (folder / name).is_file() else {}
        if columns and not {column, "frame"} <= columns.keys():
            lacking = f"{name} of {folder} has no column {column}, and the run is left out"
            continue
        points = zip(columns.get("frame", ()), columns.get(column, ()), strict=True)
        curve = {frame: value for frame, value in points if math.isfinite(frame) and math.isfinite(value)}
        if curve:
            return Result(str(folder), facts(config), curve, name)
    return lacking or f"{folder} has no value of {column} yet and is left out"


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings in a run folder say of a run, by dotted keys: ``agent`` is its name, ``task`` what it is
    evaluated on, ``preset`` and the like the chosen files.
    """
    found = dict(_flat({key: value for key, value in config.items() if key not in ("choices", "taken_over")}))
    found |= {key: value for key, value in config.get("choices", {}).items() if key != "agent"}
    agent = config.get("agent")
    found["agent"] = agent.get("name") if isinstance(agent, Mapping) else agent
    if found.get("task") in (None, "none"):
        domain = str(found.get("domain"))
        found["task"] = resolve_task(domain, None) if domain in DOMAINS else domain
    if found.get(SNAPSHOT) is None and found.get("snapshot"):
        named = _FRAMES.search(str(found["snapshot"]))
        found[SNAPSHOT] = int(named[1]) if named else Path(str(found["snapshot"])).name
    return found


def records(folder: Path, column: str = RETURN) -> Iterator[Result]:
    """The finished runs of a study in its ``results_dir``. Raises :class:`UserError` for one that is damaged."""
    for path in sorted(folder.glob("*.json")):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            own = stored.get("run") if isinstance(stored, dict) else None
            if not isinstance(own, dict) or own.get("kind") != "finetune":
                continue  # of something else, or without returns on a task
            _only_returns(column, folder)
            with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
                curve = {float(row["frame"]): float(row["return"]) for row in csv.DictReader(file) if row["return"]}
            if curve:
                yield Result(path.stem, planned_facts(own), curve)
        except (OSError, ValueError, TypeError, KeyError) as error:
            advice = "Put it back from a copy, or move it away."
            raise UserError(f"{path} is no record of a run ({error}). {advice}") from error


def planned_facts(own: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a study's run says of it: its overrides, and what it is called by."""
    words = dict(word.strip("\"'").split("=", 1) for word in own["words"] if "=" in word)
    taken = {key: own[key] for key in ("agent", "task", "domain", "pretrain_seed", "seed", VARIANT)}
    return {**words, **taken, SNAPSHOT: own["pretrain_frames"]}


def table(path: Path, column: str = RETURN) -> Iterator[Result]:
    """The runs in a CSV with a row per evaluation, such as a study's :data:`RETURNS`. Raises :class:`UserError` for one
    without the columns.
    """
    _only_returns(column, path)
    curves: dict[str, dict[float, float]] = {}
    known: dict[str, dict[str, Any]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in WANTED if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f"{path} is no table of returns: it lacks {', '.join(missing)}. {ADVICE}")
            for row in rows:
                curves.setdefault(row["run"], {})[float(row["frame"])] = float(row["return"])
                known.setdefault(row["run"], {key: row[key] for key in row if key not in ("run", "frame", "return")})
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a table of returns ({error}). {ADVICE}") from error
    for name, curve in curves.items():
        own = known[name]
        if "pretrain_frames" in own:
            own[SNAPSHOT] = own.pop("pretrain_frames")
        yield Result(name, own, curve)


def _only_returns(column: str, path: Path) -> None:
    if column != RETURN:
        raise UserError(f"y={column}: {path} keeps returns alone. Name run folders, or leave y= out.")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
