"""What a table was measured on."""

from typing import Any

import torch

from training.checkpoint import git_commit
from utils.machine import hardware


def provenance(device: torch.device | str = "cpu") -> dict[str, Any]:
    """``hardware`` and ``commit`` (None outside a git checkout): what stands beside a table's rows."""
    return {"hardware": hardware(torch.device(device)), "commit": git_commit()}


def describe(where: dict[str, Any]) -> str:
    """:func:`provenance` in one line."""
    found = where["hardware"]
    gpu = f"{found['gpu']}, " if found["gpu"] else ""
    commit = (where["commit"] or "none").partition("-")
    return (
        f"{gpu}{found['cpu']}, {found['threads']} of {found['cores']} threads, torch {found['torch']}, "
        f"commit {commit[0][:7]}{''.join(commit[1:])}"
    )
