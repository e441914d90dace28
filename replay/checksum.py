"""Checksums of what was written, so that damage on the disk is found before a resumed run learns from it."""

import time
import zlib
from collections.abc import Callable
from pathlib import Path

from replay.files import readable

CHUNK = 1 << 22
"""Bytes of a file read at once."""
SAY_EVERY = 5.0
"""Seconds between two lines on the console while files are read."""

Say = Callable[[str], None]


def extended(checksum: int, content: memoryview) -> int:
    """The CRC-32 of bytes that have the CRC-32 ``checksum`` and of ``content`` after them.

    CRC-32 is as fast as the disks that replays lie on, is in the standard library, and finds every damage to fewer than
    33 bits in a row, and all but one in 4 billion others.
    """
    return zlib.crc32(content, checksum)


def of_file(path: Path, nbytes: int, read: Callable[[int], None] = lambda nbytes: None) -> int:
    """The CRC-32 of the first ``nbytes`` of ``path``; ``read`` is told how many bytes were looked at since.

    The file is read, not mapped: what the disk cannot give back is an ``OSError`` then, where a mapped page would kill
    the process. Raises it, also when the file is shorter.
    """
    checksum, buffer = 0, memoryview(bytearray(min(CHUNK, nbytes)))
    with path.open("rb", buffering=0) as file:
        while nbytes > 0:
            found = file.readinto(buffer[:nbytes]) or 0
            if not found:
                raise OSError(f"{nbytes} bytes are missing at its end")
            checksum = extended(checksum, buffer[:found])
            nbytes -= found
            read(found)
    return checksum


class Progress:
    """Says how far a long reading has come."""

    def __init__(self, total: int, say: Say) -> None:
        """``total``: bytes to be read."""
        self._total, self._say = total, say
        self._done, self._began = 0, time.monotonic()
        self._said = self._began

    def __call__(self, nbytes: int) -> None:
        """``nbytes`` more have been read."""
        self._done += nbytes
        if time.monotonic() - self._said > SAY_EVERY:
            self._said = time.monotonic()
            self._say(f"replay: {readable(self._done)} of {readable(self._total)} verified, {self._speed()} ...")

    def finish(self) -> None:
        """All was read."""
        self._say(f"replay: {readable(self._done)} verified, {self._speed()}")

    def _speed(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-6)
        return f"{readable(int(self._done / seconds))} a second"
