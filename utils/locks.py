"""Locks that the kernel takes back when their holder ends, however it ends."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == "posix":
    import fcntl

_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_POLL = 0.02  # seconds


class Busy(Exception):
    """Another process holds the lock."""


def lock(descriptor: int) -> bool:
    """Lock an open file; False where the file system has no locks (some of a cluster's have none).

    Raises :class:`Busy` when another process, or another opening of the file in this one, holds it.
    """
    if os.name != "posix":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise Busy from error
        return False
    return True


@contextmanager
def lock_file(path: Path, patience: float = 0.0, note: bytes = b"") -> Iterator[int | None]:
    """Hold the lock of the file ``path`` (made if missing) inside; gives its descriptor, None where there are no locks.

    A file is locked rather than its folder: on NFS only locks of files reach other machines. An empty file is removed
    at the end, so that none is left; one that holds ``note`` alone, too. Whatever else it holds is not touched.

    Args:
        patience: seconds to wait for another holder.
        note: what is written into an empty file.

    Raises:
        Busy: another process still holds it after ``patience``.
        OSError: the file cannot be opened.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            held = lock(descriptor)
            if _names(path, descriptor):
                break
        except Busy:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise
            time.sleep(_POLL)
        os.close(descriptor)  # and once more: its holder has removed it meanwhile
    try:
        if note and os.fstat(descriptor).st_size == 0:
            with suppress(OSError):  # a full disk
                os.write(descriptor, note)
        yield descriptor if held else None
    finally:
        if os.pread(descriptor, len(note) + 1, 0) in (b"", note) and _names(path, descriptor):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` is still the file that was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
