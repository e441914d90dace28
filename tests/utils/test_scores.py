"""Aggregates of scores against sums by hand, against every resample there is, and against rliable 1.2.0."""

import itertools

import numpy as np
import pytest

from utils import scores
from utils.scores import (
    estimate,
    mean,
    median,
    optimality_gap,
    performance_profile,
    pooled_iqm,
    probability_of_improvement,
)
from utils.statistics import Interval

# three tasks, five and three runs; a row is a seed, as rliable takes them
OURS = np.array([[0.1, 0.5, 0.9], [0.3, 0.7, 1.2], [0.2, 0.2, 0.4], [0.8, 0.6, 1.0], [0.5, 0.5, 0.5]]).T
THEIRS = np.array([[0.2, 0.4, 0.8], [0.3, 0.9, 1.1], [0.1, 0.2, 0.5]]).T


@pytest.mark.parametrize(
    ("statistic", "by_hand", "low", "high"),
    [
        # sorted: .1 .2 .2 | .3 .4 .5 .5 .5 .5 .6 .7 .8 | .9 1 1.2, nine in the middle: 4.8 / 9
        (pooled_iqm, 4.8 / 9, 0.3889, 0.6778),
        # means of tasks: 1.9 / 5, 2.5 / 5, 4 / 5
        (mean, 1.68 / 3, 0.4333, 0.6867),
        (median, 0.5, 0.38, 0.64),
        # the third task without what is above 1: 3.8 / 5
        (optimality_gap, 1 - 1.64 / 3, 0.34, 0.5667),
    ],
)
def test_aggregates_are_those_of_rliable(statistic, by_hand, low, high):
    """Values by hand; the ends of intervals are those that rliable 1.2.0 gives with 20,000 resamples."""
    found = estimate(OURS, statistic, repetitions=20_000)
    assert found.value == pytest.approx(by_hand, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_probability_of_improvement():
    """rliable 1.2.0: 0.58889 [0.344, 0.833]."""
    # of 15 pairs a task: .1 beats none and ties one; .3 2 and a tie; .2 1, 1; .8 3; .5 3: 9 + 3 / 2
    # .5 beats 2; .7 2; .2 ties one; .6 2; .5 2: 8 + 1 / 2
    # .9 beats 2; 1.2 3; .4 none; 1 2; .5 ties one: 7 + 1 / 2
    found = probability_of_improvement(OURS, THEIRS, repetitions=20_000)
    assert found.value == pytest.approx((10.5 + 8.5 + 7.5) / 45, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((0.3444, 0.8333), abs=0.012)


def test_the_other_way_round_it_is_the_rest():
    there, back = probability_of_improvement(OURS, THEIRS), probability_of_improvement(THEIRS, OURS)
    assert there.value + back.value == pytest.approx(1)
    assert probability_of_improvement(OURS, OURS).value == 0.5
    assert probability_of_improvement([[2.0, 3.0]], [[1.0]]) == Interval(1, 1, 1)


def test_improvement_in_pieces_is_the_same(monkeypatch):
    whole = probability_of_improvement(OURS, THEIRS)
    monkeypatch.setattr(scores, "MOST_VALUES", 100)
    assert probability_of_improvement(OURS, THEIRS) == whole


def test_a_profile():
    """rliable 1.2.0 gives the same shares."""
    found = performance_profile(OURS, [0.0, 0.2, 0.5, 0.9, 1.2], repetitions=20_000)
    # of 15 runs: all, 12, 6, 2, none are above
    assert found.value.tolist() == pytest.approx([1, 12 / 15, 6 / 15, 2 / 15, 0])
    assert found.low.tolist() == pytest.approx([1, 0.6, 0.2, 0, 0], abs=0.01)
    # all of a resample are above 0.2 with 0.6^5 * 0.8^5 = 2.55 %, so there the end is either of two neighbours
    assert found.high.tolist() == pytest.approx([1, 1, 0.6, 4 / 15, 0], abs=0.01)


def test_tasks_count_alike_however_many_runs_they_have():
    uneven = [[0.0, 0.0, 0.0, 0.0], [1.0]]
    assert mean([np.array(values) for values in uneven]) == 0.5
    assert optimality_gap([np.array(values) for values in uneven]) == 0.5
    assert performance_profile(uneven, [0.5]).value.tolist() == [0.5]
    assert probability_of_improvement(uneven, [[1.0], [0.0]]).value == 0.5


def test_intervals_are_those_of_all_resamples():
    strata = [[0.1, 0.4], [0.3, 0.9, 1.5]]
    choices = [itertools.product(values, repeat=len(values)) for values in strata]
    every = sorted(
        float(optimality_gap([np.array(v) for v in drawn])) for drawn in itertools.product(*map(list, choices))
    )
    assert len(every) == 4 * 27
    found = estimate(strata, optimality_gap, repetitions=100_000)
    for quantile, end in ((0.025, found.low), (0.975, found.high)):
        assert every[int(quantile * 108) - 1] <= end <= every[int(quantile * 108) + 1]


@pytest.mark.parametrize("strata", [[], [[1.0], []]])
def test_without_runs(strata):
    with pytest.raises(ValueError, match="shapes"):
        estimate(strata, mean)
    with pytest.raises(ValueError, match="shapes"):
        performance_profile(strata, [0.5])
    with pytest.raises(ValueError, match="shapes"):
        probability_of_improvement(strata, strata)


def test_tasks_must_be_the_same():
    with pytest.raises(ValueError, match="1 and 2 tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
