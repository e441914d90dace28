"""Returns of episodes, by what was played: their table, intervals, and the CSV that studies read."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.statistics import iqm, stratified_bootstrap

OWN = "own choice"
"""What is played where the agent decides by itself."""

COLUMNS = ("task", "played", "episode", "return", "length")


class Episode(NamedTuple):
    """One that was played."""

    played: str
    """Name of the skill that was followed, or :data:`OWN`."""
    episode: int
    """Which start, from 0 on."""
    reward: float
    """Sum of the task's rewards."""
    length: int
    """Frames."""


def mean(values: NDArray[np.float64]) -> Any:
    """Along the last axis."""
    return values.mean(-1)


def summary(found: Sequence[Episode]) -> dict[str, Any]:
    """The numbers of the report in plain values: by what was played, and the best of the skills.

    ``interval`` is the 95 % bootstrap interval of the mean over episodes; None for a single one.
    """
    returns: dict[str, list[float]] = {}
    for one in found:
        returns.setdefault(one.played, []).append(one.reward)
    table: dict[str, Any] = {name: _row(own) for name, own in returns.items()}
    skills = {name: row["mean"] for name, row in table.items() if name != OWN}
    best = {"best_skill": max(skills, key=lambda name: float(skills[name]))} if skills else {}
    return {"played": table, **best}


def _row(own: list[float]) -> dict[str, Any]:
    interval = None if len(own) < 2 else stratified_bootstrap([own], mean)
    return {
        "mean": float(np.mean(own)),
        "interval": None if interval is None else [interval.low, interval.high],
        "std": float(np.std(own)),
        "iqm": float(iqm(own)),
        "returns": own,
    }


def show(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"snapshot   {report['snapshot']} ({report['agent']}, {report['frames']} frames)",
        f"task       {report['task']}, {report['episodes']} episodes each, seed {report['seed']}",
        f"{'played':<24}{'mean':>8}{'95 % interval':>18}{'std':>8}{'IQM':>8}{'least':>8}{'most':>8}",
    ]
    for name, row in report["played"].items():
        between = "-" if row["interval"] is None else "{:.1f} .. {:.1f}".format(*row["interval"])
        values = (row["std"], row["iqm"], min(row["returns"]), max(row["returns"]))
        lines.append(f"{name:<24}{row['mean']:8.1f}{between:>18}" + "".join(f"{value:8.1f}" for value in values))
    means = [row["mean"] for name, row in report["played"].items() if name != OWN]
    if not any(any(row["returns"]) for row in report["played"].values()):
        lines.append("every return is 0: nothing to tell them apart by")
    elif "best_skill" in report:
        lines.append(f"best: {report['best_skill']}, {max(means):.1f}; mean over the skills {np.mean(means):.1f}")
    return "\n".join(lines)


def write_episodes(path: Path, task: str, found: Sequence[Episode]) -> None:
    """A row per episode."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([task, *one] for one in found)
