"""Files that are there in full or not at all: allocation, free space, what is in the way."""

import errno
import os
import shutil
import stat
from pathlib import Path

from utils.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class DiskFull(UserError):
    """No space is left for the records to come; none of them was written."""


def allocate(path: Path, size: int) -> None:
    """Create ``path`` with ``size`` bytes of zeros that the disk has promised.

    A sparse file would do until the disk is full; then the first touch of a mapped page kills the process (SIGBUS).
    Asking for the blocks now turns that into an error which can be read.

    Raises :class:`DiskFull` when the disk (or quota) is full, leaving no file behind.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            if not _reserve(handle, size):
                os.ftruncate(handle, size)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno != errno.EEXIST:
            path.unlink(missing_ok=True)
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            f"The disk is full: the replay could not get {readable(size)} for {path} "
            f"({readable(free_bytes(path.parent))} free). Free some space."
        ) from error


def _reserve(handle: int, size: int) -> bool:
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def regular_size(path: Path) -> int:
    """Bytes of the file at ``path`` or behind a link there. Raises ``OSError`` unless it is a regular file."""
    found = os.stat(path)
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    raise OSError("a folder" if stat.S_ISDIR(found.st_mode) else "no regular file")


def put_aside(path: Path) -> None:
    """Rename whatever is at ``path`` to ``<name>.aside``, or ``.aside_2`` and so on; nothing there is nothing to do."""
    if not os.path.lexists(path):
        return
    number, kept = 1, path.with_name(f"{path.name}.aside")
    while os.path.lexists(kept):
        number += 1
        kept = path.with_name(f"{path.name}.aside_{number}")
    path.rename(kept)


def free_bytes(directory: Path) -> int:
    """Free bytes on the disk that holds, or would hold, ``directory``."""
    existing = directory.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def readable(size: int) -> str:
    """``12_300_000_000`` -> ``12.3 GB`` (decimal units, as disks are sold)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
