"""Wall time that counts what a device has still to do."""

import time
from collections.abc import Callable
from typing import Any

import torch


def clock_of(device: torch.device | str) -> Callable[[], float]:
    """Seconds; on CUDA, once all that was asked of ``device`` is done."""
    device = torch.device(device)

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def timed(work: Callable[[], Any], count: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of each of ``count`` calls, shortest first."""
    times = []
    for _ in range(count):
        start = clock()
        work()
        times.append(clock() - start)
    return sorted(times)
