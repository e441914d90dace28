"""A snapshot that is named by its path: read, or answered with those that do exist near it."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from training import checkpoint
from utils.advice import override
from utils.errors import UserError
from utils.regular import kind_of

KEY = "snapshot"
"""The key that names one."""

NAMES = ("snapshot_*.pt", "finetuned_snapshot.pt", "models/*.pt")
"""What snapshots are called, in the folder of a run or in one of their own."""

PLACES = (
    "pretrained_models/*/*/*/*/snapshot_*.pt",
    "pretrained_models/*/*/*/*/*/snapshot_*.pt",
    "offline_models/*/*/*/*/*/snapshot_*.pt",
    "offline_models/*/*/*/*/*/*/snapshot_*.pt",
    "exp_local/*/*/finetuned_snapshot.pt",
    "runs/*/*/models/*.pt",
)
"""Where the scripts put them, seen from the folder that a command is given in."""

WRITERS = "dreamer_pretrain.py, offline_train.py and drq_train.py"

MOST_LISTED = 8


def read_named(name: str | Path, key: str = "") -> dict[str, Any]:
    """The content of the snapshot ``name``, which may begin with ``~``; a message begins with the ``key`` of it.

    Raises :class:`UserError` where there is none, naming those near it, or where it is damaged.
    """
    path = absolute(name)
    said = override(key, path) if key else str(path)
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{said}: there is no such file.{near(path, key)}")
    if kind != "a file":
        raise UserError(f"{said} is {kind}, not a file.{near(path, key)}")
    try:
        return checkpoint.load(path, "snapshot")
    except checkpoint.OtherKind as error:
        raise UserError(
            f"{said} is a {error.found}, not a snapshot. {override('resume', path.parent)} goes on with its run; what "
            f"begins another one is a snapshot.{near(path, key)}"
        ) from None


def absolute(name: str | Path) -> Path:
    """``name`` as seen from here, with the home directory for ``~``."""
    return Path(os.path.abspath(os.path.expanduser(name)))


def near(path: Path, key: str = "") -> str:
    """A sentence that lists the snapshots near ``path``: in its folder and below, then the scripts' own."""
    found = list(islice(dict.fromkeys(_near(path)), MOST_LISTED + 1))
    if not found:
        return f" There are none near it: pre-train first ({WRITERS} write them)."
    lines = [f"\n  {override(key, one) if key else one}" for one in found[:MOST_LISTED]]
    more = "\n  and more" if len(found) > MOST_LISTED else ""
    return f" There are:{''.join(lines)}{more}"


def _near(path: Path) -> Iterator[Path]:
    """The nearest first."""
    here, folder = Path.cwd(), next(one for one in (path, *path.parents) if one.is_dir())
    for depth in ("", "*/", "*/*/"):
        yield from sorted((one for name in NAMES for one in folder.glob(depth + name) if one.is_file()), key=_order)
    yield from sorted(one for pattern in PLACES for one in here.glob(pattern))


def _order(path: Path) -> tuple[str, int, str]:
    """By folder, then by frames."""
    digits = path.stem.rpartition("_")[2]
    return str(path.parent), int(digits) if digits.isdigit() else -1, path.name
