"""Runs in processes of their own that are killed for good (SIGKILL) in the middle of what they do."""

import csv
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from fork_kit import server

from agents.rest.agent import RestAgent
from entry.start import launch
from envs.gl import choose_backend
from training import checkpoint
from training.collector import Collector
from training.learner import Learner
from training.off_policy import OffPolicyRun
from training.offline import OfflineRun
from training.on_policy import OnPolicyRun, RolloutLearner
from training.run import CHECKPOINT, Run

Place = Literal[
    "update", "collect", "finish", "checkpoint", "snapshot", "evaluation", "play", "learn", "models", "publish"
]
PLACES: dict[Place, tuple[type, str]] = {
    "update": (Learner, "update"),
    "collect": (Collector, "step"),
    "finish": (Collector, "finish_step"),
    "checkpoint": (Run, "save_checkpoint"),
    "snapshot": (OffPolicyRun, "save_snapshot"),
    "evaluation": (OffPolicyRun, "evaluate_if_due"),
    "play": (RestAgent, "act"),
    "learn": (RolloutLearner, "update"),
    "models": (OnPolicyRun, "save_models"),
    "publish": (OfflineRun, "save_snapshot"),
}
"""From ``play`` to ``models`` they are those of on-policy runs, ``publish`` is that of offline runs."""


@dataclass(frozen=True)
class Kill:
    """Die inside the first call of ``place`` from the run's ``step`` on, at the ``call``-th function call in there.

    Function calls are Python's and C's alike: between two kernels of an update, between two writes to a file.
    """

    step: int
    place: Place
    call: int


def child_of(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that will call ``target(*arguments)``, started."""
    choose_backend()  # before the server imports dm_control, which chooses for all its children
    child = server.Process(target=target, args=arguments)
    child.start()
    return child


def in_child(target: Callable[..., None], *arguments: Any, timeout: float = 250) -> int:
    """Run ``target`` in a child process; its exit code (-9 for SIGKILL)."""
    child = child_of(target, *arguments)
    child.join(timeout)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError(f"{target.__name__} did not end within {timeout} s")
    return child.exitcode


def play(config: dict[str, Any], folder: Path, script: str, resume: bool, kill: Kill | None, log: Path) -> None:
    """Begin or resume a run and, if asked to, die on the way."""
    torch.set_num_threads(1)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        if kill is not None:
            _arm(kill)
        launch(config, folder, script, resume=resume)  # type: ignore[arg-type]


def _arm(kill: Kill) -> None:
    for kind in (OffPolicyRun, OnPolicyRun, OfflineRun):
        _arm_runs(kind, kill)


def _arm_runs(kind: type[Run], kill: Kill) -> None:
    iterate = kind.iterate

    def iterate_until(run: Run) -> None:
        if run.step >= kill.step:
            kind.iterate = iterate  # type: ignore[method-assign]
            _plant(kill)
            if kill.place == "checkpoint":
                run.save_checkpoint()
        iterate(run)

    kind.iterate = iterate_until  # type: ignore[method-assign]


def _plant(kill: Kill) -> None:
    owner, name = PLACES[kill.place]
    original = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        left = kill.call

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal left
            if event in ("call", "c_call"):
                left -= 1
                if left <= 0:
                    die()

        sys.setprofile(count)
        original(*args, **kwargs)
        die()  # fewer calls than thought: right after the last

    setattr(owner, name, deadly)


def die() -> None:
    """What the out-of-memory killer or a cluster's scheduler does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Killed(Exception):
    """Stands for SIGKILL within this process: nothing after it runs but what the operating system does."""


def kill_at(monkeypatch: pytest.MonkeyPatch, update: int) -> None:
    """Make update number ``update`` (from 1) raise half-way through the run."""
    original = OffPolicyRun.update

    def dying(self: OffPolicyRun, due: int) -> None:
        original(self, due)
        if self.updates >= update:
            raise Killed

    monkeypatch.setattr(OffPolicyRun, "update", dying)


def assert_same_runs(left: Path, right: Path, apart_from: tuple[str, ...] = ()) -> None:
    """Final checkpoints, replays, snapshots and models equal bit for bit; CSVs in all columns but wall-clock ones.

    ``apart_from``: names in checkpoints and snapshots that may differ.
    """
    for pattern in ("*.*", "models/*"):
        assert sorted(path.name for path in left.glob(pattern)) == sorted(path.name for path in right.glob(pattern))
    for path in (*left.glob("*.pt"), *left.glob("models/*.pt")):
        other = right / path.relative_to(left)
        names = [name for name in differing(checkpoint.load(path), checkpoint.load(other)) if name not in apart_from]
        assert names == [], f"{path.name}: {', '.join(names[:5])}"
    for name in ("train.csv", "eval.csv", "episodes.csv"):
        assert rows(left / name) == rows(right / name)
    if (left / "replay").is_dir() or (right / "replay").is_dir():
        assert live_bytes(left) == live_bytes(right)


def differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Names of what is not the same in two files, apart from their folders and the clock."""
    one, two = _flat(left), _flat(right)
    clock = ("run", "logger.elapsed", "logger.last_row", "own.episode_seconds")
    names = [name for name in sorted(one.keys() | two.keys()) if not name.startswith(clock)]
    return [name for name in names if name not in one or name not in two or not _equal(one[name], two[name])]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested dicts and lists by its dotted name."""
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): value}


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and bytes_of(left) == bytes_of(right)
    return left == right


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Its content, so that NaN equals NaN and 0 does not equal -0."""
    return tensor.contiguous().numpy().tobytes()


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV without its wall-clock columns; a short run may have none."""
    if not path.exists():
        return []
    with path.open() as file:
        return [
            {k: v for k, v in row.items() if k not in ("fps", "total_time", "duration")} for row in csv.DictReader(file)
        ]


def live_bytes(folder: Path) -> list[bytes]:
    """The records of a run's replay that its checkpoint knows and can sample, of each environment."""
    layout = json.loads((folder / "replay" / "layout.json").read_text())
    steps, found = layout["segment_steps"], []
    for env, stream in enumerate(checkpoint.load(folder / CHECKPOINT, "checkpoint")["replay"]["streams"]):
        first = max(0, -(-stream["cursor"] // steps) - layout["live"])
        paths = [
            folder / "replay" / f"stream_{env}" / f"segment_{number:08d}.bin"
            for number in range(first, -(-stream["cursor"] // steps))
        ]
        record = paths[0].stat().st_size // steps
        found.append(b"".join(path.read_bytes() for path in paths)[: (stream["cursor"] - first * steps) * record])
    return found
