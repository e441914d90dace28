"""Files that a tool is asked for: a report as JSON, or anything else that is written whole or not at all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.atomic import atomic_path
from utils.errors import UserError


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
