"""How fast this machine multiplies matrices: what a fixed count of operations would take at best."""

import torch

from benchmarks.clock import clock_of

SIZE = 2048
ROUNDS = 5


def matmul_rate(device: torch.device | str = "cpu") -> float:
    """Floating-point operations per second of a float32 product of two SIZE x SIZE matrices on ``device``, with torch's
    present number of threads; the best of ROUNDS.
    """
    clock = clock_of(device)
    left, right = torch.randn(SIZE, SIZE, device=device), torch.randn(SIZE, SIZE, device=device)
    out = torch.empty(SIZE, SIZE, device=device)
    torch.mm(left, right, out=out)
    best = float("inf")
    for _ in range(ROUNDS):
        start = clock()
        torch.mm(left, right, out=out)
        best = min(best, clock() - start)
    return 2 * SIZE**3 / best
