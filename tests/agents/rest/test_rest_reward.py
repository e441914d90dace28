"""The soft minimum: values worked out by hand, and what holds for all errors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.rest.reward import soft_minimum

INF = float("inf")


def of(*errors, alpha=10.0):
    return soft_minimum(torch.tensor(errors), alpha).item()


@pytest.mark.parametrize(
    "errors, wanted",
    [((0.1, 0.5, 2.0), 2.0805), ((11.0, 12.0, 13.0), 111.0986), ((8.5, 9.0, 9.0), 86.09), ((10.5,), 105.0)],
)
def test_by_hand(errors, wanted):
    assert of(*errors) == pytest.approx(wanted, abs=5e-3 if wanted == 86.09 else 1e-4)


@pytest.mark.parametrize("others", [1, 2, 9])
def test_one_skill_that_goes_there_among_some_that_never_do(others):
    assert of(0.0, *[INF] * (others - 1)) == pytest.approx(math.log(others))


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("error", [0.0, 0.3, 40.0])
def test_equal_errors(count, error):
    assert of(*[error] * count) == pytest.approx(10 * error, rel=1e-5, abs=1e-6)


def test_nobody_to_keep_away_from():
    reward = soft_minimum(torch.zeros(0, 4, 5), 10.0)
    assert reward.shape == (4, 5) and not reward.any()


errors = st.lists(st.floats(0, 5, width=32), min_size=1, max_size=9)


@given(errors, st.floats(0.1, 20))
def test_against_float64(values, alpha):
    """In float64 nothing overflows here, so the formula can be taken as it is written."""
    want = -math.log(sum(math.exp(-alpha * e) for e in values) / len(values))
    found = of(*values, alpha=alpha)
    assert found == pytest.approx(want, rel=1e-4, abs=1e-4) and found >= 0
    least = alpha * min(values)
    assert least - 1e-4 <= found <= least + math.log(len(values)) + 1e-4


@given(errors)
def test_order_does_not_matter(values):
    assert of(*values) == pytest.approx(of(*reversed(values)), rel=1e-5, abs=1e-5)


def test_every_state_by_itself():
    values = torch.rand(3, 4, 5)
    reward = soft_minimum(values, 2.0)
    assert reward.shape == (4, 5)
    assert reward[2, 3].item() == pytest.approx(of(*values[:, 2, 3].tolist(), alpha=2.0), rel=1e-5)
