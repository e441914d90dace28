"""How fast this machine multiplies matrices: what a fixed count of operations would take at best."""

import time

import torch

SIZE = 2048
ROUNDS = 5


def matmul_rate() -> float:
    """Floating-point operations per second of a float32 product of two SIZE x SIZE matrices, with torch's present
    number of threads; the best of ROUNDS.
    """
    left, right = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    out = torch.empty(SIZE, SIZE)
    torch.mm(left, right, out=out)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best
