"""Files that go to a name which something else may have: that is kept under another one, whoever races for it."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.locks import Busy, lock_file

PATIENCE = 30.0
"""Seconds to wait for another process that is looking at the same name; it takes milliseconds."""

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)

_MEANWHILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # what was there is gone, or something else is there


def put_keeping(temporary: Path, path: Path, ours: Callable[[Path], bool]) -> Path | None:
    """Rename ``temporary`` to ``path``; what lies there is replaced if it is ``ours``, else kept.

    The look and the rename are one step for all processes that do the same: both happen under the lock of a file
    beside ``path``, gone afterwards. Where there are no locks, or somebody holds on to this one, whatever lies there is
    kept, ours or not, and no step can replace a file (but on a disk that has no hard links either).

    Returns the new name of what was kept, ``previous_<n>_<name>``; None if there was nothing to keep.
    """
    try:
        with lock_file(path.with_name(f".{path.name}.lock"), PATIENCE) as held:
            if held is not None:
                kept = None if ours(path) else set_aside(path)
                os.replace(temporary, path)
                return kept
    except (Busy, PermissionError, IsADirectoryError):  # or the lock file is somebody else's
        pass
    return _put_unlocked(temporary, path)


def set_aside(path: Path) -> Path | None:
    """Give what lies at ``path`` a free name besides, which it keeps when ``path`` is replaced; None: nothing is there.

    What cannot have two names (a folder; any file, on some disks) moves there.
    """
    for kept in _names(path):
        try:
            os.link(path, kept, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(os.lstat(path), os.lstat(kept)):  # killed right after it got this name
                return kept
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _take(path)
        else:
            return kept
    raise AssertionError("names do not end")


def _put_unlocked(temporary: Path, path: Path) -> Path | None:
    kept = None
    while True:
        try:
            os.link(temporary, path)  # never onto a file
        except FileExistsError:
            kept = _take(path) or kept
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            kept = set_aside(path) or kept
            os.replace(temporary, path)
            return kept
        else:
            temporary.unlink()
            return kept


def _take(path: Path) -> Path | None:
    """Move what lies at ``path``, whatever it is by now, to a free name; None when somebody else was faster."""
    for kept in _names(path):
        folder = path.is_dir() and not path.is_symlink()
        try:
            if folder:
                kept.mkdir()
            else:
                kept.touch(exist_ok=False)  # nobody else takes this name now
        except FileExistsError:
            continue
        try:
            os.rename(path, kept)
        except OSError as error:
            kept.rmdir() if folder else kept.unlink()
            if error.errno not in _MEANWHILE:
                raise
            return None
        return kept
    raise AssertionError("names do not end")


def _names(path: Path) -> Iterator[Path]:
    return (path.with_name(f"previous_{number}_{path.name}") for number in itertools.count(1))
