"""A checksum inside a zip file: its last bytes say what all bytes before them must be.

The checksum is the archive's comment, so any reader of zip files (``torch.load`` included) still takes the file. The
checksums a zip file has of its own cover the members' contents only, and ``torch.load`` does not look at them.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

_MARK = b"somnia blake2b "
_DIGEST_BYTES = 16
_COMMENT_BYTES = len(_MARK) + 2 * _DIGEST_BYTES
_END_OF_ARCHIVE = struct.Struct("<4s16xH")
_CHUNK = 1 << 22


def seal(path: Path) -> None:
    """Append the checksum to a zip file without a comment. Raises ValueError for any other file."""
    with path.open("r+b") as file:
        file.seek(-_END_OF_ARCHIVE.size, os.SEEK_END)
        signature, comment_bytes = _END_OF_ARCHIVE.unpack(file.read())
        if signature != b"PK\5\6" or comment_bytes:
            raise ValueError(f"{path} is not a zip file without a comment")
        file.seek(-2, os.SEEK_END)
        file.write(_COMMENT_BYTES.to_bytes(2, "little") + _MARK)
        length = file.tell()
        file.seek(0)
        digest = _digest(file, length)
        file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether the file carries a checksum. Raises ValueError if it does and its content is not what it was."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _COMMENT_BYTES:
            return False
        file.seek(size - _COMMENT_BYTES)
        comment = file.read()
        if not comment.startswith(_MARK):
            return False
        file.seek(0)
        if _digest(file, size - 2 * _DIGEST_BYTES) != comment[len(_MARK) :]:
            raise ValueError("its checksum is wrong")
    return True


def _digest(file: BinaryIO, length: int) -> bytes:
    """Hexadecimal BLAKE2b of the next ``length`` bytes."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    while length:
        chunk = file.read(min(length, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest().encode()
