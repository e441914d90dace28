"""Intervals against numbers worked out by hand."""

import pytest

from utils.statistics import wilson


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


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} successes of {trials}"):
        wilson(successes, trials)
