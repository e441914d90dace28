"""What a table was measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import git_commit

CPU_TABLE = Path("/proc/cpuinfo")


def provenance(device: torch.device | str = "cpu") -> dict[str, Any]:
    """``hardware`` and ``commit`` (None outside a git checkout): what stands beside a table's rows."""
    return {"hardware": hardware(torch.device(device)), "commit": git_commit()}


def hardware(device: torch.device) -> dict[str, Any]:
    """Processors, torch's present number of threads, the GPU if ``device`` is one, torch's version."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
    }


def cpu_name(table: Path = CPU_TABLE) -> str:
    """The processor's own name; its architecture where the system does not tell."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def describe(where: dict[str, Any]) -> str:
    """:func:`provenance` in one line."""
    found = where["hardware"]
    gpu = f"{found['gpu']}, " if found["gpu"] else ""
    commit = (where["commit"] or "none").partition("-")
    return (
        f"{gpu}{found['cpu']}, {found['threads']} of {found['cores']} threads, torch {found['torch']}, "
        f"commit {commit[0][:7]}{''.join(commit[1:])}"
    )
