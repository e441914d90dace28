"""Means that a few odd runs do not move, and intervals: of shares, and of statistics over few runs."""

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPETITIONS = 2000
"""Resamples behind an interval: its ends then wander by a few hundredths of its width from one ``seed`` to another."""

MOST_VALUES = 2**22
"""Of resamples that are held in memory at a time."""

Statistic = Callable[[NDArray[np.float64]], Any]
"""Values (..., n) -> their statistic (...)."""


class Interval(NamedTuple):
    """A statistic and what lies around it with some confidence."""

    value: float
    low: float
    high: float

    def apart(self, other: "Interval") -> bool:
        """Whether the two intervals have nothing in common."""
        return self.low > other.high or self.high < other.low


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval (low, high) of a share, after Wilson (1927). Raises ``ValueError`` without trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    share, spread = successes / trials, NormalDist().inv_cdf((1 + confidence) / 2) ** 2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = (share * (1 - share) * spread + spread**2 / 4) ** 0.5 / (1 + spread)
    # at both ends the bound is exact; rounding must not push the interval off the share
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == trials else middle + half


def iqm(values: ArrayLike) -> Any:
    """The interquartile mean along the last axis, (..., n) -> (...): of the sorted values, ``floor(n / 4)`` at each end
    are left out (Agarwal et al., 2021, section 4.3; of three values or fewer it is the mean).

    Raises ``ValueError`` without values.
    """
    found = np.asarray(values, dtype=np.float64)
    if not found.ndim or not found.shape[-1]:
        raise ValueError("the interquartile mean of no values")
    found = np.sort(found, axis=-1)
    cut = found.shape[-1] // 4
    return found[..., cut : found.shape[-1] - cut].mean(-1)


def stratified_bootstrap(
    strata: Sequence[ArrayLike],
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Interval:
    """``statistic`` of all runs of all tasks, with its percentile interval (Agarwal et al., 2021, section 4.2).

    ``strata`` are the scores of each task's runs, (n_k,); every resample draws n_k of them with replacement, task by
    task. One ``seed`` gives one interval, whatever the order in which runs of a task come. Raises ``ValueError`` where
    a task has no run.
    """
    drawn = resampled(strata, statistic, repetitions=repetitions, seed=seed)
    return percentiles(_of_all(strata, statistic), drawn, confidence)


def bootstrap_difference(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Interval:
    """``statistic`` of ``first`` less that of ``second``, both resampled for themselves; as
    :func:`stratified_bootstrap`.
    """
    one = resampled(first, statistic, repetitions=repetitions, seed=seed)
    other = resampled(second, statistic, repetitions=repetitions, seed=seed + 1)
    return percentiles(_of_all(first, statistic) - _of_all(second, statistic), one - other, confidence)


def resampled(
    strata: Sequence[ArrayLike], statistic: Statistic = iqm, *, repetitions: int = REPETITIONS, seed: int = 0
) -> NDArray[np.float64]:
    """``statistic`` of so many resamples, (repetitions,): see :func:`stratified_bootstrap`."""
    found = [statistic(np.concatenate(drawn, axis=-1)) for drawn in draws(strata, repetitions=repetitions, seed=seed)]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in found])


def draws(
    strata: Sequence[ArrayLike], *, repetitions: int = REPETITIONS, seed: int = 0, width: int = 1
) -> Iterator[list[NDArray[np.float64]]]:
    """Resamples, some at a time: of every task (count, n_k), drawn with replacement from its own runs. ``width``: how
    many numbers will be made of each value, for the sake of memory.
    """
    sets = checked(strata)
    generator = np.random.default_rng(seed)
    done = 0
    at_once = max(1, MOST_VALUES // (width * sum(map(len, sets))))
    while done < repetitions:
        count = min(at_once, repetitions - done)
        yield [values[generator.integers(len(values), size=(count, len(values)))] for values in sets]
        done += count


def checked(strata: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """The runs of every task in order, so that no interval depends on it. Raises ``ValueError`` for a task without."""
    sets: list[NDArray[np.float64]] = [np.sort(np.asarray(values, dtype=np.float64)) for values in strata]
    if not sets or not all(values.ndim == 1 and len(values) for values in sets):
        raise ValueError(f"scores of tasks have the shapes {[values.shape for values in sets]}; wanted (n,), n >= 1")
    return sets


def _of_all(strata: Sequence[ArrayLike], statistic: Statistic) -> float:
    return float(statistic(np.concatenate(checked(strata))))


def percentiles(value: float, drawn: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """``value`` with the percentile interval of resamples, (repetitions,)."""
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
