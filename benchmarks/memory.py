"""Memory that a piece of work needs at its peak."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


class Memory(NamedTuple):
    """Bytes: of the device's allocator on CUDA, of this process's resident pages on the CPU."""

    resting: int
    """Before the work: weights, optimiser states and the batch; on the CPU, Python and its libraries, too."""
    peak: int


def measure(work: Callable[[], Any], device: torch.device) -> Memory | None:
    """Call ``work`` once; its peak, or None where it cannot be measured (a CPU without Linux's /proc)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        resting = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return Memory(resting, torch.cuda.max_memory_allocated(device))
    if not _reset_peak():
        work()
        return None
    resting = status()["VmHWM"]
    work()
    return Memory(resting, status()["VmHWM"])


def give_back_free() -> None:
    """Return to the system what C's allocator keeps of earlier work, which would hide that much of later work."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def own_share(pid: int) -> int | None:
    """Bytes of process ``pid``: its own pages, and of those that several processes share its part (PSS).

    None where the system does not tell (no Linux, or the process is gone).
    """
    try:
        lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
        return next((1024 * int(words[1]) for words in lines if words[0] == "Pss:"), None)
    except OSError:
        return None


def status() -> dict[str, int]:
    """This process's memory in bytes by the names of /proc/self/status: VmHWM (peak), VmRSS, RssAnon, RssFile, ..."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[-1] == "kB"}


def _reset_peak() -> bool:
    """Make the peak what is resident now; whether the system can."""
    give_back_free()
    try:
        RESET.write_text("5")
        return "VmHWM" in status()
    except OSError:
        return False
