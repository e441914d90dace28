"""Which rows each of several steps learns from."""

from collections.abc import Iterator

import torch
from torch import Tensor


def batches(rows: int, size: int | None, steps: int, device: torch.device) -> Iterator[Tensor | slice]:
    """An index of rows for each of ``steps`` steps: all of them where ``size`` is None or not below ``rows``, else
    ``size`` rows, none twice before too few are left.
    """
    if size is None or size >= rows:
        yield from (slice(None) for _ in range(steps))
        return
    each = rows // size
    for step in range(steps):
        if step % each == 0:
            order = torch.randperm(rows, device=device)
        place = step % each * size
        yield order[place : place + size]
