"""The models of skills on disk, as published: ``<run>/<cycle>/<skill that was trained>/<iteration>/skill<k>/``.

Every such folder holds all skills. Of those that were not trained since the one before, the files are the same ones
(hard links), so a folder takes the room of what has changed.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError, unknown_value
from utils.folders import will_make

FILE = "model.pt"


class Turned(NamedTuple):
    """A folder of models, of all skills at the end of one's turn."""

    cycle: int
    skill: int
    iteration: int
    path: Path


def model_path(folder: Path, skill: int) -> Path:
    """The file of one skill in a folder of models."""
    return folder / f"skill{skill}" / FILE


def link_model(old: Path, new: Path) -> bool:
    """Give the file ``old`` the name ``new`` as well, a copy where the disk knows no links; whether it is there now.

    Another file at ``new`` is left alone.
    """
    if not old.is_file():
        return False
    if os.path.lexists(new):
        return os.path.exists(new) and os.path.samefile(old, new)
    will_make(new.parent)
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
    return True


def runs(base: Path) -> list[str]:
    """Timestamps below ``base`` that hold models, the oldest folder first."""
    if not base.is_dir():
        return []
    found = [path for path in base.iterdir() if path.is_dir() and next(turns(path), None) is not None]
    return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime, path.name))]


def turns(run: Path) -> Iterator[Turned]:
    """The folders of models of a run, in no order."""
    for path in run.glob("*/*/*"):
        names = path.relative_to(run).parts
        if all(name.isdigit() for name in names) and model_path(path, 0).is_file():
            cycle, skill, iteration = map(int, names)
            yield Turned(cycle, skill, iteration, path)


def find(base: Path, timestamp: str | None, cycle: int | None, skill: int | None) -> Turned:
    """The models that are asked for: the newest where something is left open.

    Raises :class:`UserError` that names those there are.
    """
    there = runs(base)
    if not there:
        raise UserError(f"there are no models in {base}. Train some with rest_train.py, or name their folder.")
    name = there[-1] if timestamp is None else timestamp.strip("/")
    if name not in there:
        raise unknown_value("timestamp", name, there)
    found = sorted(turns(base / name))
    for key, value, at in (("epoch", cycle, 0), ("skid", skill, 1)):
        if value is not None:
            known = sorted({one[at] for one in found})
            found = [one for one in found if one[at] == value]
            if not found:
                raise unknown_value(key, str(value), [str(one) for one in known])
    return found[-1]
