"""What scores on a benchmark's tasks say together, after Agarwal et al. (2021), "Deep reinforcement learning at the
edge of the statistical precipice".

``strata`` are the normalised scores of each task's runs, (n_k,) for task k; tasks may have different numbers of runs.
All intervals are 95 % percentile intervals of a bootstrap stratified by task (section 4.2 there).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.statistics import MOST_VALUES, REPETITIONS, Interval, checked, draws, iqm, percentiles

SOLVED = 1.0
"""The normalised score of an expert."""

Sets = Sequence[NDArray[np.float64]]
"""Scores of every task, (..., n_k)."""


def pooled_iqm(sets: Sets) -> NDArray[np.float64]:
    """The interquartile mean of all runs of all tasks, (...): section 4.3."""
    return np.asarray(iqm(np.concatenate(sets, axis=-1)))


def mean(sets: Sets) -> NDArray[np.float64]:
    """Mean over tasks of the mean over runs, (...)."""
    return _task_means(sets).mean(0)


def median(sets: Sets) -> NDArray[np.float64]:
    """Median over tasks of the mean over runs, (...)."""
    return np.asarray(np.median(_task_means(sets), axis=0))


def optimality_gap(sets: Sets) -> NDArray[np.float64]:
    """By how much runs miss the expert's score on average, mean over tasks, (...): what is above it does not make up
    for what is below. Less is better (section 4.3).
    """
    return SOLVED - _task_means([np.minimum(values, SOLVED) for values in sets]).mean(0)


def estimate(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Sets], NDArray[np.float64]],
    *,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Interval:
    """``statistic`` of all tasks, with its interval. Raises ``ValueError`` where a task has no run."""
    drawn = np.concatenate([statistic(sets) for sets in draws(strata, repetitions=repetitions, seed=seed)])
    return percentiles(float(statistic(checked(strata))), drawn)


def probability_of_improvement(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], *, repetitions: int = REPETITIONS, seed: int = 0
) -> Interval:
    """How likely a run of ``first`` beats one of ``second`` on a task drawn at random: the mean over tasks of the share
    of pairs of runs in which it does, with ties as halves (section 4.3, after Mann and Whitney).

    ``first`` and ``second`` have the same tasks, and returns will do: only their order on a task counts. Raises
    ``ValueError`` where the numbers of tasks differ, or one has no run.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} tasks")
    pairs = max((np.size(one) * np.size(other) for one, other in zip(first, second, strict=True)), default=1)
    at_once, drawn = max(1, MOST_VALUES // max(pairs, 1)), []
    ours, theirs = (_whole(one, repetitions, own) for one, own in ((first, seed), (second, seed + 1)))
    for begin in range(0, repetitions, at_once):
        part = slice(begin, begin + at_once)
        drawn.append(_wins([values[part] for values in ours], [values[part] for values in theirs]))
    return percentiles(float(_wins(checked(first), checked(second))), np.concatenate(drawn))


class Profile(NamedTuple):
    """Shares of runs above each threshold, (T,) each."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def performance_profile(
    strata: Sequence[ArrayLike], thresholds: ArrayLike, *, repetitions: int = REPETITIONS, seed: int = 0
) -> Profile:
    """The share of runs whose score is above each of the ``thresholds`` (T,), mean over tasks (equation 4 there), with
    pointwise intervals.
    """
    above = np.asarray(thresholds, dtype=np.float64)

    def shares(sets: Sets) -> NDArray[np.float64]:
        return np.mean([(values[..., None] > above).mean(-2) for values in sets], axis=0)

    drawn = np.concatenate(
        [shares(sets) for sets in draws(strata, repetitions=repetitions, seed=seed, width=max(1, above.size))]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return Profile(shares(checked(strata)), low, high)


def _whole(strata: Sequence[ArrayLike], repetitions: int, seed: int) -> Sets:
    """All resamples of every task, (repetitions, n_k)."""
    parts = list(draws(strata, repetitions=repetitions, seed=seed))
    return [np.concatenate(own) for own in zip(*parts, strict=True)]


def _task_means(sets: Sets) -> NDArray[np.float64]:
    return np.stack([values.mean(-1) for values in sets])


def _wins(first: Sets, second: Sets) -> NDArray[np.float64]:
    shares = []
    for ours, theirs in zip(first, second, strict=True):
        one, other = ours[..., :, None], theirs[..., None, :]
        shares.append(((one > other) + 0.5 * (one == other)).mean((-2, -1)))
    return np.mean(shares, axis=0)
