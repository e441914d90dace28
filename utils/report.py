"""Files that a tool is asked for: a report as JSON, or anything else that is written whole or not at all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.atomic import atomic_path
from utils.errors import UserError
from utils.folders import check_writable

BEGINS = {"csv": b"task,", "json": b"{", "png": b"\x89PNG", "html": b"<!doctype html>", "svg": b"<?xml"} | {
    ".mp4": b"\0\0\0 ftyp",
    ".gif": b"GIF89a",
}
"""First bytes of what is written for an option, by the end of its name, or for a video, by its own: such a file may be
written over."""


def check_output(option: str, path: Path, begin: bytes | None = None) -> None:
    """Raise :class:`UserError` unless ``path`` can be written to and nothing but an earlier output is lost by it.

    ``begin``: what such an output begins with; None as in :data:`BEGINS`. Made at the start rather than after the work.
    """
    check_writable(option, str(path.absolute().parent))
    if not path.exists() or path.is_dir():  # the latter is said where it cannot be written
        return
    kind = option.rpartition("-")[2]
    if begin is None:
        begin = BEGINS[path.suffix.lower() if kind == "video" else kind]
    try:
        with path.open("rb") as file:
            found = file.read(len(begin)) if path.is_file() else b"no file"
    except OSError as error:
        raise UserError(f"{option}={path} cannot be used ({error.strerror}). Name another file.") from error
    if found not in (b"", begin):
        raise UserError(f"{option}={path} is there and was not written by this option. Name another file.")


def write_file(path: Path | None, write: Callable[[Path], object]) -> None:
    """Let ``write`` make ``path``, all or nothing; no path is no file. Raises :class:`UserError` when it cannot be."""
    if path is None:
        return
    try:
        with atomic_path(path) as temporary:
            write(temporary)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Choose another place.") from error


def write_json(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write ``report``; otherwise as :func:`write_file`."""
    write_file(path, lambda temporary: temporary.write_text(json.dumps(report, indent=1) + "\n"))
