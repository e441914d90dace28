"""stdout and stderr that end nothing: what cannot be shown is left out."""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

NAMES = ("stdin", "stdout", "stderr")
_MAY_MEND = (errno.ENOSPC, errno.EDQUOT)
"""A full disk may get space again; a reader or a terminal that is gone does not come back."""


class _Stream(io.FileIO):
    """A standard stream that takes everything and drops what cannot be written."""

    announces = False

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name = f"<{NAMES[descriptor]}>"
        self.lost: OSError | None = None
        """Why something was dropped, the first time."""

    def write(self, data: object) -> int:
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(left)
        try:
            while left:
                written = super().write(left)
                if written is None:  # full, and set not to wait by another process that has it
                    select.select([], [self], [])
                else:
                    left = left[written:]
        except OSError as error:
            self._fail(error)
        return size

    def _fail(self, error: OSError) -> None:
        first = self.lost is None
        if first:
            self.lost = error
        if error.errno not in _MAY_MEND:
            with suppress(OSError):  # for child processes and libraries, which know nothing of this class
                _to_nowhere(self.fileno())
        if first and self.announces:
            name = NAMES[self.fileno()]
            tell(3 - self.fileno(), f"note: {name} cannot be written ({error.strerror}); the run goes on without it")


def protect(*, announce: bool = False) -> None:
    """Make stdout and stderr of this process such that no text, and nothing that becomes of them, raises.

    A reader that goes (``| head -1``), a full disk, a terminal that is closed: what cannot be written is dropped; with
    ``announce`` the first loss is told on the other stream. Characters that the encoding lacks are escaped. A stream
    that the process was started without (``2>&-``) becomes one to nowhere: otherwise the next file to be opened would
    take its number, and get the warnings of libraries written into it.

    Streams that somebody has put in their place (a notebook, a test) are left alone. A second call changes ``announce``
    only.
    """
    _Stream.announces = announce
    for descriptor in range(3):
        if not _is_open(descriptor):
            _to_nowhere(descriptor)
    for descriptor in (1, 2):
        name = NAMES[descriptor]
        old = getattr(sys, name)
        if old is not None and (type(old) is not io.TextIOWrapper or _raw(old) is None):
            continue
        unbuffered = old is not None and old.write_through
        raw = _Stream(descriptor)
        if old is not None:
            with suppress(OSError):
                old.flush()
        new = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[arg-type, type-var]
            encoding=None if old is None else old.encoding,
            errors="backslashreplace",
            line_buffering=descriptor == 2 or raw.isatty(),
            write_through=unbuffered,
        )
        setattr(sys, name, new)


def lost(stream: TextIO | None) -> OSError | None:
    """Why something was not written to a stream of :func:`protect`; None if all was."""
    buffer = getattr(stream, "buffer", None)
    return getattr(getattr(buffer, "raw", buffer), "lost", None)


def show(text: str, stream: TextIO | None) -> None:
    """Print a line to ``stream``, whatever has become of it; characters that its encoding lacks are escaped."""
    with suppress(OSError, ValueError):  # the latter from a closed one
        try:
            print(text, file=stream or io.StringIO(), flush=True)
        except UnicodeEncodeError as error:
            print(text.encode(error.encoding, "backslashreplace").decode(error.encoding), file=stream, flush=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody may be watching."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def tell(descriptor: int, text: str) -> None:
    """Write a line at once, from a place where a stream may be in the middle of another write."""
    with suppress(OSError):
        os.write(descriptor, f"{text}\n".encode("ascii", "backslashreplace"))


def _raw(stream: io.TextIOWrapper) -> io.FileIO | None:
    """The standard file below ``stream``; None if it is one of :func:`protect`, or no standard one."""
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return raw if type(raw) is io.FileIO and raw.fileno() in (1, 2) else None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
