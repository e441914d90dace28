"""What a snapshot is and where it comes from; the learning curves of the run that wrote it."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entry.scripts import SCRIPTS
from entry.settings import ADDED, composed
from reporting.figures import COLOURS, Line, lines
from reporting.page import Html, code, facts, figure, joined, paragraph, row, table
from reporting.subject import NotHere
from utils.advice import override
from utils.csv_log import read_columns
from utils.errors import UserError

GROUPS = ("preset", "drq_preset", "configs", "agent")
"""What a user chooses; a file that names anything else to be composed is not followed."""

WHERE = ("device", "resume", "run_id", "progress", "snapshot_dir", "snapshot_base_dir", "timestamp", "use_tb")
"""Settings that say where and how a run went on, and nothing of what it learned."""

CURVES = {
    "episode_reward": "episode return",
    "AverageCumulativeReward": "reward of the rollouts",
    "reward_mean": "reward that is learned from",
    "reward_ext_mean": "task reward",
    "diayn_acc": "skills named rightly",
    "model_loss": "world-model loss",
    "observation_loss": "observation loss",
    "model_kl": "KL (nats)",
    "actor_ent": "entropy of the actor",
    "critic_target": "lambda return",
    "critic_loss": "critic loss",
    "LossRND": "RND loss",
    "LossPi": "policy loss",
    "AverageEpisodeLength": "episode length",
}
"""Columns that are drawn, where a run has them, and what they are."""

MOST_CURVES = 8


def what(content: Mapping[str, Any], path: Path) -> Html:
    """Agent, task, frames, versions, ancestors, and the settings that are not the preset's."""
    config = content["config"]
    choices = config.get("choices", {})
    shown = {
        "snapshot": code(path),
        "agent": content["agent"],
        "script": SCRIPTS[config["phase"]].file if config.get("phase") in SCRIPTS else content["phase"],
        "task": f"{config['task']} (domain {config['domain']})",
        "sees": _spec(content),
        "frames": f"{content['frame']:,}" + f" ({content['updates']:,} updates)" * ("updates" in content),
        "seed": config["seed"],
        "preset": choices.get("preset", choices.get("drq_preset", "unknown")),
        "run": code(content["run"]),
        "commit": code(content.get("commit") or "unknown"),
        "made with": ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
    }
    return joined(facts(shown), _lineage(content), settings(config))


def _spec(content: Mapping[str, Any]) -> str:
    (observed, kind), (actions, _) = content["spec"]["observation"], content["spec"]["action"]
    seen = f"images, {' x '.join(map(str, observed))}" if kind == "|u1" else f"states of {observed[0]} numbers"
    return f"{seen}, and acts with {actions[0]} numbers"


def _lineage(content: Mapping[str, Any]) -> Html:
    parents = content.get("lineage", ())
    if not parents:
        return paragraph("Made from no other snapshot: trained from scratch.")
    rows = [
        (code(one["path"]), one["agent"], f"{one['frame']:,}", code((one["commit"] or "unknown")[:10]))
        for one in parents
    ]
    return table(("made from, the nearest first", "agent", "frames", "commit"), rows, "Lineage", words=(0,))


def settings(config: Mapping[str, Any]) -> Html:
    """A table of the settings that are others than the preset's."""
    try:
        found = list(differing(config))
    except UserError as error:
        return paragraph(f"Its settings cannot be compared with a preset: {error}", "note")
    words = code(" ".join(_chosen(config)))
    if not found:
        return paragraph(Html(f"All settings are those of {words}."))
    rows = [(code(key), code(_short(ours)), code(_short(theirs))) for key, ours, theirs in found]
    about = paragraph(Html(f"Settings that are not those of {words}:"))
    return joined(about, table(("setting", "here", "preset"), rows, "Settings that differ", words=(1, 2)))


def _chosen(config: Mapping[str, Any]) -> list[str]:
    return [
        override("preset" if key == "drq_preset" else key, value)
        for key, value in config.get("choices", {}).items()
        if key in GROUPS
    ]


def differing(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, value, the preset's value) of the settings that differ. Raises :class:`UserError` for settings that no
    command line composes to today, such as of an agent of the user's own.
    """
    phase = config.get("phase")
    if phase not in SCRIPTS:
        raise UserError(f"they are of phase={phase}, which no script has")
    names = SCRIPTS[phase].aliases
    base = names.internal({key: value for key, value in composed(phase, _chosen(config)).items() if key not in ADDED})
    then, now = _flat(base), _flat(config)
    for key, value in now.items():
        first = key.partition(".")[0]
        if first in (*ADDED, *WHERE) or then.get(key, "none") == "none" or _same(value, then[key]):
            continue
        yield names.published(key), value, then[key]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted names; a list is a value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other)
    return bool(one == other)


def _short(value: Any) -> str:
    text = "null" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def curves(run: Path | None, content: Mapping[str, Any], unit: str = "frames") -> Html:
    """Columns of the run's CSVs, a figure each."""
    folder = run or Path(content["run"])
    files = {name: folder / f"{name}.csv" for name in ("eval", "train")}
    there = {name: read_columns(path) for name, path in files.items() if path.is_file()}
    if not there:
        raise NotHere(f"The run folder {folder} is not there any more; name it with run=<folder>.")
    drawn: list[Html] = []
    for column, named in CURVES.items():
        shown = [line for name, columns in there.items() if (line := _line(name, columns, column))]
        if shown and len(drawn) < MOST_CURVES:
            last = shown[0].y[-1]
            alt = f"{named} over {unit}: {len(shown[0].y)} values, the last is {_figures(last)}"
            drawn.append(figure(lines(shown, alt, unit, named, small=True), f"{named}: {_figures(last)} at the end"))
    if not drawn:
        raise NotHere(f"The CSVs in {folder} have too few rows for a curve.")
    until = f"to where it is now; the snapshot is of {unit[:-1]} {content['frame']:,}"
    about = paragraph(Html(f"From {code(folder)}, {until}."))
    return joined(about, row(*drawn, kind="many"))


def _figures(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _line(name: str, columns: Mapping[str, list[float]], column: str) -> Line | None:
    if column not in columns or "frame" not in columns:
        return None
    x, y = np.array(columns["frame"]), np.array(columns[column])
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        return None
    x, y = x[there], y[there]
    spread = np.array(columns.get(f"{column}_std", [math.nan] * len(there)))[there]
    if np.isfinite(spread).all():
        return Line(f"{name} (± 1 std)", x, y, y - spread, y + spread)
    return Line(name, x, y, colour=COLOURS[1] if name == "train" else None)
