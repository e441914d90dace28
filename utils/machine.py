"""The machine that something is measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

CPU_TABLE = Path("/proc/cpuinfo")


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
