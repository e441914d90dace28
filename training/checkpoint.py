"""Snapshots (what fine-tuning loads) and checkpoints (what a run resumes from).

Both are one ``torch.save`` file of tensors and plain values, loaded with ``weights_only=True``, so that no code of a
file is ever run. ``python -m analysis.describe FILE`` prints what one holds.
"""

import pickle
import platform
import re
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from training.contents import checked
from utils.aside import put_keeping
from utils.atomic import atomic_path, remove_leftovers
from utils.errors import UserError
from utils.moved import run_moved
from utils.regular import check_file
from utils.rules import is_int, shown
from utils.seal import is_sealed, seal

Kind = Literal["snapshot", "checkpoint"]

FORMATS: dict[Kind, range] = {"snapshot": range(1, 8), "checkpoint": range(2, 9)}
"""Versions of what the files hold that can be read; the last one is written."""

SEALED_SINCE: dict[Kind, int] = {"snapshot": 2, "checkpoint": 3}
"""The first versions whose files end in a checksum."""


class OtherKind(UserError):
    """A file of this project, but not of the kind that was asked for."""

    def __init__(self, path: Path, found: str, wanted: str) -> None:
        self.found = found
        super().__init__(f"{path} is not a {wanted} but a {found}. Name a {wanted}.")


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@cache
def git_commit() -> str | None:
    """The commit of the code, ``-dirty`` appended when tracked files differ; None outside a git checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def versions() -> dict[str, str]:
    """The versions that exact resumption depends on."""
    return {"python": platform.python_version(), **_packages(), "threads": str(torch.get_num_threads())}


@cache
def _packages() -> dict[str, str]:
    """Read once: 30 ms from files, and every checkpoint names them."""
    return {name: metadata.version(name) for name in ("torch", "numpy", "mujoco", "dm_control")}


def arrays_to_tensors(value: Any) -> Any:
    """Nested dicts and lists with every NumPy array as a tensor, so that ``weights_only`` loading accepts them."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: arrays_to_tensors(item) for key, item in value.items()}
    return [arrays_to_tensors(item) for item in value] if isinstance(value, list) else value


def tensors_to_arrays(value: Any) -> Any:
    """The inverse of :func:`arrays_to_tensors`."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: tensors_to_arrays(item) for key, item in value.items()}
    return [tensors_to_arrays(item) for item in value] if isinstance(value, list) else value


def save(path: Path, kind: Kind, payload: Mapping[str, Any], put: Callable[[Path, Path], object] | None = None) -> None:
    """Write ``payload`` with its header atomically; ``put`` as in :func:`utils.atomic.atomic_path`.

    Raises :class:`UserError` when the file cannot be written.
    """
    header = {"format": FORMATS[kind][-1], "kind": kind, "commit": git_commit(), "versions": versions()}
    try:
        with atomic_path(path, put) as temporary:
            torch.save({**header, **payload}, temporary)
            seal(temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        text = str(error).splitlines()[0]
        reason = getattr(error, "strerror", None) or f"no space is left, as it seems ({text})"
        stands = "; the file from before is as it was" if path.exists() else ""
        raise UserError(f"cannot write {path}: {reason}{stands}. Free space or choose another folder.") from error


def load(path: Path, kind: Kind | None = None) -> dict[str, Any]:
    """Read a file written by :func:`save` onto the CPU; any ``kind`` unless one is asked for.

    Raises :class:`UserError` for a file that is damaged, of another kind, of a version that cannot be read, or that
    holds anything but what :mod:`training.contents` says.
    """
    wanted = kind or "snapshot or checkpoint"
    check_file(path, f"Name a {wanted}.")
    content, sealed = _read(path, wanted)
    found = content.get("kind") if isinstance(content, dict) else None
    if isinstance(found, str) and found in FORMATS and found != (kind or found):
        raise OtherKind(path, found, wanted)
    if not isinstance(found, str) or found not in FORMATS:
        raise UserError(f"{path} is not a {wanted} of this project. Take a file written by it.")
    version, readable = content.get("format"), FORMATS[found]  # type: ignore[index]
    if not is_int(version) or version not in readable:
        age = "older" if is_int(version) and version < readable[0] else "newer"
        raise UserError(
            f"{path} has format {shown(version)}, {age} than the formats {readable[0]} to {readable[-1]} that this "
            f"version reads. It was written by commit {shown(content.get('commit'))}: use that version of the code."
        )
    try:
        if version >= SEALED_SINCE[found] and not sealed:  # type: ignore[index]
            raise ValueError("its checksum is gone")
        return checked(content, found, translate=version != readable[-1])
    except ValueError as error:
        raise UserError(f"{path} is not a readable {found} ({error}). Take another one or write it again.") from error


def _read(path: Path, wanted: str) -> tuple[Any, bool]:
    """The content of a file, and whether it carries a checksum (that is right)."""
    try:
        sealed = is_sealed(path)
        _check_members(path, sealed)
        return torch.load(path, map_location="cpu", weights_only=True), sealed
    except Exception as error:
        # damaged archives raise almost anything; the user needs one message
        reason = _reason(error)
        raise UserError(f"{path} is not a readable {wanted} ({reason}). Take another one or write it again.") from error


def _reason(error: Exception) -> str:
    """One short line; torch's own text on refused objects advises to load them all the same."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values, or is damaged"
    lines = _COLOURS.sub("", getattr(error, "strerror", None) or str(error)).splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _check_members(path: Path, sealed: bool) -> None:
    """The members of the zip file take as much memory as they take room in it; of files from before the seal, their own
    checksums, which torch does not look at.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed")
        damaged = None if sealed else archive.testzip()
    if damaged is not None:
        raise ValueError(f"checksum of {damaged} is wrong")


def snapshot_path(folder: Path, frames: int) -> Path:
    """``<folder>/snapshot_<frames>.pt``."""
    return folder / f"snapshot_{frames}.pt"


def publish(path: Path, payload: Mapping[str, Any]) -> Path | None:
    """:func:`save` a snapshot where others may write, too: one that another run wrote is kept, as is any other file.

    Its own, from before it was resumed, is replaced. Returns the new name of what was kept; None if there was nothing.
    """
    kept: list[Path | None] = []
    save(path, "snapshot", payload, lambda written, path: kept.append(put_keeping(written, path, written_by(payload))))
    remove_leftovers(path.parent)
    return kept[0]


def written_by(header: Mapping[str, Any]) -> Callable[[Path], bool]:
    """Whether a file was written by the run with this ``header``, wherever the run is now; those of earlier versions
    are known by their folder.
    """
    key = "run" if header.get("run_id") is None else "run_id"

    def ours(path: Path) -> bool:
        if not path.is_file():
            return False
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return bool(found.get(key) == header.get(key))
        except Exception:  # damaged or not a snapshot: whoever's it is
            return False

    return ours


if __name__ == "__main__":
    run_moved("analysis.describe")
