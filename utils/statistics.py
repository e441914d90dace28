"""Intervals of measured shares."""

import math

WILSON_Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval (low, high) of a share, after Wilson (1927). Raises ``ValueError`` without trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    share, spread = successes / trials, WILSON_Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # at both ends the bound is exact; rounding must not push the interval off the share
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == trials else middle + half
