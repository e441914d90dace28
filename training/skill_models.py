"""The models of skills on disk, as published: ``<run>/<cycle>/<skill that was trained>/<iteration>/skill<k>/``.

Every such folder holds all skills. Of those that were not trained since the one before, the files are the same ones
(hard links), so a folder takes the room of what has changed.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from utils.advice import override
from utils.atomic import atomic_path, sync
from utils.errors import UserError, unknown_value
from utils.folders import remove_empty, will_make
from utils.locks import Busy, lock_file

FILE = "model.pt"
LOCK = ".lock"
NOTE = b"A run of rest_train.py writes models here, or was killed doing so.\n"
"""What the lock file of a run's models holds."""


class Turned(NamedTuple):
    """A folder of models, of all skills at the end of one's turn."""

    cycle: int
    skill: int
    iteration: int
    path: Path


def model_path(folder: Path, skill: int) -> Path:
    """The file of one skill in a folder of models."""
    return folder / f"skill{skill}" / FILE


def claim(folder: Path, *, fresh: bool) -> ExitStack:
    """Keep other runs from writing models to ``folder``, which is made if missing, until the result is closed.

    Raises :class:`UserError` when one is doing so, when the run is ``fresh`` and models lie there (of two runs in one
    folder nobody could tell which is which), and when it cannot be written to.
    """
    held = ExitStack()
    try:
        will_make(folder)
        folder.mkdir(parents=True, exist_ok=True)
        held.callback(remove_empty, folder)
        held.enter_context(lock_file(folder / LOCK, note=NOTE))
        if fresh and next(turns(folder), None) is not None:
            raise UserError(f"{folder} holds the models of another run. Move them, or choose {_free_name(folder)}.")
    except Busy as error:
        held.close()
        raise UserError(f"another run is writing its models to {folder}. Choose {_free_name(folder)}.") from error
    except OSError as error:
        held.close()
        raise UserError(
            f"models cannot be written to {folder} ({error.strerror}). Choose another snapshot_base_dir, or change its "
            "rights."
        ) from error
    except BaseException:
        held.close()
        raise
    return held


def _free_name(folder: Path) -> str:
    """An override that gives a run a folder of models beside ``folder``."""
    number = 2
    while os.path.lexists(other := folder.with_name(f"{folder.name}_{number}")):
        number += 1
    return override("timestamp", other.name)


def link_model(old: Path, new: Path, ours: Callable[[Path], bool] = os.path.isfile) -> bool:
    """Give the file ``old`` the name ``new`` as well, a copy where the disk knows no links; whether it is there now.

    Nothing is done with a file that is not ``ours``, and another file at ``new`` is left alone.
    """
    if not old.is_file() or not ours(old):
        return False
    if os.path.lexists(new):
        return os.path.exists(new) and os.path.samefile(old, new)
    will_make(new.parent)
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        with atomic_path(new) as temporary:
            shutil.copyfile(old, temporary)
    else:
        sync(new.parent)
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
