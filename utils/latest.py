"""``resume=latest``: the newest run of the script that asks."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError

RUNS = Path("exp_local")
CONFIG_FILE = "config.yaml"
"""Written into every run folder; what ``resume=`` reads."""
AUTO = "auto"
"""Value of ``resume=`` for jobs that a cluster starts again: go on if the folder holds a run, else begin."""

_PHASE = re.compile(r"^phase: *(\w+)\s*$", re.MULTILINE)
_RUN = re.compile(r"^run_id: *(\w+)\s*$", re.MULTILINE)
_asking: list[str] = []


@contextmanager
def asking(phase: str) -> Iterator[None]:
    """In the block this process is the script ``phase``: ``latest`` means the newest of its runs."""
    _asking.append(phase)
    try:
        yield
    finally:
        _asking.pop()


def latest_run(*roots: Path | str, phase: str | None = None) -> Path:
    """The run folder under ``roots`` that was started or resumed last; links to folders are followed.

    Args:
        roots: single runs and sweeps of a script lie in one each; none is :data:`RUNS`.
        phase: only runs of this script; None takes those of the script that this process is, or any without one.

    Raises:
        UserError: there is none.
    """
    phase = phase or (_asking[-1] if _asking else None)
    places = [Path(root) for root in roots or (RUNS,)]
    found = [(config.stat().st_mtime, config) for root in dict.fromkeys(places) for config in configs_under(root)]
    for _, config in sorted(found, reverse=True):
        if phase is None or _phase_of(config) == phase:
            return config.parent
    where = " or ".join(f"{place}/" for place in dict.fromkeys(places))
    of = "" if phase is None else " of this script"
    raise UserError(f"resume=latest: there is no run{of} under {where}. Name the run folder: resume=<folder>.")


def configs_under(root: Path) -> Iterator[Path]:
    """The settings of every run under ``root``, itself included; nothing is looked for inside of a run."""
    seen: set[str] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads upwards
            inner.clear()
            continue
        seen.add(real)
        config = Path(folder, CONFIG_FILE)
        # other programs have files of this name; ours name the run, and older ones lie beside a replay
        if CONFIG_FILE in files and ("replay" in inner or _found(_RUN, config)):
            inner.clear()
            if config.is_file():
                yield config


def _phase_of(config: Path) -> str | None:
    """The script whose settings a file holds; None where it is none of ours, or cannot be read."""
    return _found(_PHASE, config)


def _found(key: re.Pattern[str], config: Path) -> str | None:
    try:
        found = key.search(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None
