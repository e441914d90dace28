"""Files that appear whole or not at all, and what a killed process leaves of those it was writing."""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.locks import Busy, lock

_TEMPORARY = re.compile(r"\..*\.somnia-[0-9a-f]{16}\.tmp(\..*)?", re.DOTALL)


@contextmanager
def atomic_path(path: Path, put: Callable[[Path, Path], object] | None = None) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends well, sync it and rename it to ``path``.

    The temporary file lies in the same folder (a rename is atomic only inside one file system) and keeps the suffix
    (image and video libraries choose the format by it). It is there, empty, from the start, and locked until the end:
    see :func:`remove_leftovers`. If the block raises, it is removed and ``path`` is untouched.

    ``put(temporary, path)`` is another way to bring it there than ``os.replace``.

    Raises:
        OSError: the folder cannot be written to, or something lies there that is no file: a device would be replaced.
    """
    path = Path(path)
    if put is None and path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "something lies there that is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.somnia-{secrets.token_hex(8)}.tmp{path.suffix}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with suppress(Busy):
            lock(descriptor)
        yield temporary
        sync(temporary)
        (put or os.replace)(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if os.name == "posix":  # the rename itself lives in the folder; Windows cannot open folders
        sync(path.parent)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that :func:`atomic_path` gives to write to."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path, *, deep: bool = False) -> list[Path]:
    """Remove the temporary files of :func:`atomic_path` whose writers are dead; returns them.

    A writer holds the lock of its file to the end, so one that can be locked has none any more, wherever it ran. Where
    the file system has no locks nothing is removed. ``deep``: in the folders below ``folder``, too.
    """
    removed = []
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in names if is_temporary(name)):
            with suppress(OSError):  # another process was faster, or it is not ours to remove
                if _is_abandoned(path):
                    path.unlink()
                    removed.append(path)
        if not deep:
            folders.clear()
    return removed


def _is_abandoned(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return lock(descriptor)
    except Busy:
        return False
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
