"""Paths that have to lead to a file: what else may lie there is refused in words, before anybody waits for it."""

import stat
from pathlib import Path

from utils.errors import UserError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link that leads nowhere",
}


def kind_of(path: Path) -> str | None:
    """What lies at ``path``: ``a file``, one of ``KINDS``; None for nothing. Raises :class:`UserError` if it cannot be
    looked at.
    """
    try:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            mode = path.lstat().st_mode  # of a link
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # the latter for a name with a zero byte
        raise UserError(f"{path!s:.200} cannot be looked at ({getattr(error, 'strerror', None) or error}).") from error
    return KINDS.get(stat.S_IFMT(mode), "a file")


def check_file(path: Path, advice: str) -> None:
    """Raise :class:`UserError`, with ``advice``, unless ``path`` leads to a file."""
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{path} does not exist. {advice}")
    if kind != "a file":
        raise UserError(f"{path} is {kind}, not a file. {advice}")


def check_own(path: Path, wanted: str) -> None:
    """Raise :class:`UserError` for something at ``path``, where a run writes, that is not what is ``wanted``: ``a
    file``, ``a folder``.
    """
    if (kind := kind_of(path)) not in (None, wanted):
        raise UserError(f"{path} is {kind}, and a run needs {wanted} there. Move it away, or choose another folder.")
