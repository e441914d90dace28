"""Run folders and tables of returns with known numbers."""

import json
from pathlib import Path

from analysis.results import Result
from studying.plan import Planned
from studying.records import Record, write
from utils.plain_yaml import dump

CONFIG = {
    "seed": 1,
    "task": "walker_walk",
    "domain": "none",
    "model_opt": {"lr": 3e-4},
    "agent": {"name": "dreamer", "actor_ent": 1e-4},
    "snapshot": None,
    "snapshot_ts": 0,
    "choices": {"preset": "small", "agent": "dreamer"},
    "phase": "finetune",
    "run_id": "abc",
}


def run_folder(path: Path, curve, log="eval.csv", column="episode_reward", **changed) -> Path:
    """A run folder with ``curve`` (value by frame) as its log; keyword arguments replace settings."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(dump({**CONFIG, **changed}))
    lines = [f"frame,{column}", *(f"{frame},{value}" for frame, value in curve.items())]
    if curve:
        (path / log).write_text("\n".join(lines) + "\n")
    return path


def result(name, agent="dreamer", task="walker_walk", seed=1, curve=None, log="eval.csv", **facts) -> Result:
    """A run as it is read."""
    return Result(name, {"agent": agent, "task": task, "seed": seed, **facts}, curve or {0: 0.0}, log)


def record(folder: Path, agent, task, seed, curve, before=0, variant="", words=()) -> None:
    """What a study keeps of a fine-tuning."""
    source = None if before == 0 else 1
    run = Planned("finetune", agent, "walker", task, source, seed, before, variant, 20, tuple(words))
    rows = [{"frame": frame, "return": value} for frame, value in curve.items()]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, Record(run, {"seconds": 1.0, "command": ""}, rows))


def other_json(folder: Path) -> None:
    """A file that is no record."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps({"of": "something else"}))
