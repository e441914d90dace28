"""Many rows in parts that fit into memory."""

from collections.abc import Sequence


def chunks(rows: int, most: int) -> Sequence[slice]:
    """Slices of at most ``most`` rows (at least one) that cover ``rows``."""
    step = max(most, 1)
    return [slice(start, start + step) for start in range(0, rows, step)]
