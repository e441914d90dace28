"""Means and intervals against numbers worked out by hand, and against every resample there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from utils import statistics
from utils.statistics import Interval, bootstrap_difference, iqm, resampled, stratified_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # n = 10: z^2 / n = 0.384146; (0.5 + 0.192073 -+ sqrt(0.25 * 0.384146 + 0.036892)) / 1.384146
        (5, 10, 0.236593, 0.763407),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        # z^2 / n = 0.0240091; (0.00625 + 0.0120046 -+ sqrt(0.0062109 * 0.0240091 + 0.0001441)) / 1.0240091
        (1, 160, 0.001104, 0.034549),
    ],
)
def test_wilson(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=2e-6)


def test_wilson_with_another_confidence():
    # z = 1.644854, z^2 / n = 0.270554; (0.5 + 0.135277 -+ sqrt(0.25 * 0.270554 + 0.018300)) / 1.270554
    assert wilson(5, 10, 0.9) == pytest.approx((0.269272, 0.730728), abs=2e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} successes of {trials}"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5], 5),
        ([1, 2, 9], 4),  # floor(3 / 4) = 0 are cut
        ([100, 2, 3, -50], 2.5),
        ([0, 1, 2, 3, 4, 5, 6, 70], 3.5),  # 2, 3, 4, 5 are left
    ],
)
def test_iqm(values, expected):
    assert iqm(values) == expected


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=30))
def test_iqm_is_the_trimmed_mean(values):
    assert iqm(values) == pytest.approx(trim_mean(values, 0.25), abs=1e-9)


def test_iqm_of_many_at_once():
    assert iqm([[4, 1, 2, 3], [0, 0, 8, 8]]).tolist() == [2.5, 4]


@pytest.mark.parametrize("nothing", [[], 3.0])
def test_iqm_of_nothing(nothing):
    with pytest.raises(ValueError, match="no values"):
        iqm(nothing)


def every_resample(strata, statistic):
    """All equally likely ones."""
    choices = [itertools.product(values, repeat=len(values)) for values in strata]
    return sorted(float(statistic(np.concatenate(chosen))) for chosen in itertools.product(*map(list, choices)))


STRATA = ([1.0, 5.0, 6.0], [10.0, 40.0])


def test_the_interval_is_that_of_all_resamples():
    every = every_resample(STRATA, iqm)
    assert len(every) == 27 * 4
    found = stratified_bootstrap(STRATA, confidence=0.8, repetitions=200_000)
    assert found.value == iqm([1, 5, 6, 10, 40]) == 7
    # within one resample of the exact quantiles
    for quantile, end in ((0.1, found.low), (0.9, found.high)):
        assert every[int(quantile * 108) - 1] <= end <= every[int(quantile * 108) + 1]


def test_resamples_have_the_distribution_of_all_resamples():
    drawn = resampled(STRATA, lambda values: values.mean(-1), repetitions=100_000)
    every = np.array(every_resample(STRATA, np.mean))
    assert drawn.mean() == pytest.approx(every.mean(), abs=0.1)
    assert drawn.std() == pytest.approx(every.std(), rel=0.02)
    assert set(np.round(drawn, 9)) == set(np.round(every, 9))


def test_tasks_are_drawn_for_themselves():
    """A task is never made up of another's runs: with one run each there is but one resample."""
    assert stratified_bootstrap([[3.0], [100.0], [7.0], [4.0]]) == Interval(5.5, 5.5, 5.5)


def test_one_seed_one_interval(monkeypatch):
    first = stratified_bootstrap(STRATA)
    assert stratified_bootstrap([[6.0, 1.0, 5.0], [40.0, 10.0]]) == first
    assert stratified_bootstrap(STRATA, seed=5) != first
    monkeypatch.setattr(statistics, "MOST_VALUES", 1)
    assert len(resampled(STRATA, repetitions=7)) == 7


def test_a_difference():
    found = bootstrap_difference([[10.0, 12.0]], [[1.0, 1.0]], repetitions=20_000)
    # means 10, 11, 11, 12 of four resamples, less 1
    assert found == Interval(10, 9, 11)
    same = bootstrap_difference([STRATA[0]], [STRATA[0]])
    assert same.value == 0 and same.low < 0 < same.high


def test_apart():
    assert Interval(5, 4, 6).apart(Interval(8, 7, 9)) and Interval(8, 7, 9).apart(Interval(5, 4, 6))
    assert not Interval(5, 4, 7).apart(Interval(8, 7, 9))


@pytest.mark.parametrize("strata", [[], [[1.0], []], [[[1.0]]]])
def test_without_runs(strata):
    with pytest.raises(ValueError, match="shapes"):
        stratified_bootstrap(strata)
