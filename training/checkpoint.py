"""Snapshots (what fine-tuning loads) and checkpoints (what a run resumes from).

Both are one ``torch.save`` file of tensors and plain values, loaded with ``weights_only=True``, so that no code of a
file is ever run.
"""

import platform
import subprocess
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from utils.atomic import atomic_path
from utils.errors import UserError

Kind = Literal["snapshot", "checkpoint"]

FORMATS: dict[Kind, int] = {"snapshot": 1, "checkpoint": 2}
"""Versions of what the files hold."""


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
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "mujoco", "dm_control")}
    return {"python": platform.python_version(), **packages, "threads": str(torch.get_num_threads())}


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


def save(path: Path, kind: Kind, payload: Mapping[str, Any]) -> None:
    """Write ``payload`` with its header atomically. Raises :class:`UserError` when the file cannot be written."""
    content = {"format": FORMATS[kind], "kind": kind, "commit": git_commit(), "versions": versions(), **payload}
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot write {path}: {reason}. Free space or choose another folder.") from error


def load(path: Path, kind: Kind) -> dict[str, Any]:
    """Read a file written by :func:`save` onto the CPU.

    Raises :class:`UserError` for a file that is damaged, of another kind, or of a newer format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums it writes
        if damaged is not None:
            raise ValueError(f"checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # damaged archives raise almost anything; the user needs one message
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a readable {kind} ({reason}). Take another one or write it again.") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise UserError(f"{path} is not a {kind} of this project. Take a file written by it.")
    if content["format"] != FORMATS[kind]:
        raise UserError(
            f"{path} has format {content['format']}; this version reads format {FORMATS[kind]}. Use matching versions."
        )
    return content


def snapshot_path(folder: Path, frames: int) -> Path:
    """``<folder>/snapshot_<frames>.pt``."""
    return folder / f"snapshot_{frames}.pt"


def keep_foreign(path: Path, run: str) -> Path | None:
    """Move a snapshot that another run wrote to ``path`` out of the way; its new name, None if there was none."""
    if not path.is_file():
        return None
    try:
        owner = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get("run")
    except Exception:
        # damaged or not ours: keep it all the same
        owner = None
    if owner == run:
        return None
    number = 1
    while (kept := path.with_name(f"previous_{number}_{path.name}")).exists():
        number += 1
    path.rename(kept)
    return kept
