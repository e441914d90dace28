"""Folders that are to be written to, and those that this process made."""

import os
from pathlib import Path

from utils.errors import UserError
from utils.rules import shown

_made: set[Path] = set()


def check_writable(key: str, folder: str) -> None:
    """Raise :class:`UserError` unless ``folder`` can be written to, or made where it does not exist yet."""
    path = Path(folder).absolute()
    try:
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
    except OSError as error:  # a name too long, or a folder whose content may not be seen
        raise UserError(f"{key}={shown(folder)}: {error.strerror}. Choose another one.") from error
    if not existing.is_dir():
        raise UserError(f"{key}={folder}: {existing} is not a folder. Choose another one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{key}={folder}: {existing} cannot be written to. Choose another one or change its rights.")


def will_make(folder: Path) -> None:
    """Remember which of ``folder`` and those above it are not there yet: this process is about to make them."""
    path = Path(os.path.abspath(folder))
    _made.update(each for each in (path, *path.parents) if not os.path.lexists(each))


def remove_empty(folder: Path) -> None:
    """Remove ``folder`` and those above it as far as they are empty and this process made them."""
    path = Path(os.path.abspath(folder))
    for each in (path, *path.parents):
        if _made.isdisjoint((each, *each.parents)):
            return
        try:
            each.rmdir()
        except OSError:
            return
