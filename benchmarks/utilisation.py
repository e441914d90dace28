"""How busy a GPU is, asked of ``nvidia-smi``."""

import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

PERIOD = 1.0
"""Seconds between two questions; each answer is about the driver's own last period, up to a second."""


@contextmanager
def watched(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Inside, ``device`` is watched; what is yielded gives the mean share of time in which a kernel ran on it, 0 to 1.

    None for a CPU, and where ``nvidia-smi`` is missing or does not know.
    """
    samples: list[float] = []
    over = threading.Event()
    asking = command(device)

    def watch() -> None:
        while asking is not None and not over.wait(PERIOD):
            try:
                done = subprocess.run(asking, capture_output=True, text=True, timeout=10, check=True)
                samples.append(float(done.stdout) / 100)
            except (OSError, ValueError, subprocess.SubprocessError):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: statistics.fmean(samples) if samples else None
    finally:
        over.set()
        thread.join()


def command(device: torch.device) -> list[str] | None:
    """What prints the utilisation of ``device`` in per cent; None where there is nothing to ask."""
    program = shutil.which("nvidia-smi") if device.type == "cuda" else None
    if program is None:
        return None
    uuid = torch.cuda.get_device_properties(device).uuid  # indices differ where CUDA_VISIBLE_DEVICES is set
    return [program, f"--id=GPU-{uuid}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
