"""Advantages and returns against sums written out, and what ends them."""

import pytest
import rest_reference as ref
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.rest.advantages import estimates

numbers = st.floats(-10, 10, width=32)


@st.composite
def rollouts(draw):
    n, length = draw(st.integers(1, 3)), draw(st.integers(1, 7))

    def table(values):
        return [[draw(values) for _ in range(length)] for _ in range(n)]

    terminated, truncated = table(st.booleans()), table(st.booleans())
    cut = [[a or b or t == length - 1 for t, (a, b) in enumerate(zip(*rows, strict=True))]
           for rows in zip(terminated, truncated, strict=True)]  # fmt: skip
    return table(numbers), table(numbers), table(numbers), terminated, cut


@given(rollouts(), st.floats(0, 1), st.floats(0, 1))
def test_sums_written_out(rollout, gamma, lam):
    reward, value, next_value, terminated, cut = rollout
    tensors = [torch.tensor(x) for x in rollout]
    found = estimates(*tensors, gamma=gamma, lam=lam)
    advantages, returns = ref.explicit_estimates(reward, value, next_value, terminated, cut, gamma, lam)
    torch.testing.assert_close(found.advantage, torch.tensor(advantages), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.returns, torch.tensor(returns), rtol=1e-4, atol=1e-3)


def one_row(terminated=(), truncated=(), length=4):
    ends = [torch.zeros(1, length, dtype=torch.bool) for _ in range(2)]
    for end, places in zip(ends, (terminated, truncated), strict=True):
        end[0, list(places)] = True
    cut = ends[0] | ends[1]
    cut[:, -1] = True
    return ends[0], cut


def test_by_hand():
    """gamma 1/2, lam 1/2; a time limit after step 1, values 10 after every step, 0 before."""
    terminated, cut = one_row(truncated=[1])
    reward, value = torch.tensor([[1.0, 2, 4, 8]]), torch.zeros(1, 4)
    found = estimates(reward, value, torch.full((1, 4), 10.0), terminated, cut, gamma=0.5, lam=0.5)
    assert found.advantage.tolist() == [[6 + 0.25 * 7, 7, 9 + 0.25 * 13, 13]]
    assert found.returns.tolist() == [[1 + 0.5 * 7, 2 + 5, 4 + 0.5 * 13, 8 + 5]]


def test_nothing_is_expected_after_a_terminal_state():
    terminated, cut = one_row(terminated=[1, 3])
    reward, value = torch.tensor([[1.0, 2, 4, 8]]), torch.zeros(1, 4)
    found = estimates(reward, value, torch.full((1, 4), float("nan")), terminated, cut, gamma=0.5, lam=0.0)
    assert found.returns.tolist() == [[2, 2, 8, 8]]
    assert found.advantage[0, 1] == 2 and found.advantage[0, 3] == 8


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_follows_a_cut_does_not_reach_back(at):
    terminated, cut = one_row(truncated=[at])
    arguments = [torch.randn(1, 4) for _ in range(3)]
    before = estimates(*arguments, terminated, cut, gamma=0.9, lam=0.8)
    for x in arguments:
        x[:, at + 1 :] += 5
    after = estimates(*arguments, terminated, cut, gamma=0.9, lam=0.8)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[:, : at + 1], b[:, : at + 1]) and not torch.equal(a[:, at + 1 :], b[:, at + 1 :])


def test_with_lambda_1_an_advantage_is_return_minus_value():
    reward, value, last = torch.randn(2, 6), torch.randn(2, 6), torch.randn(2, 1)
    next_value = torch.cat([value[:, 1:], last], 1)
    cut = torch.zeros(2, 6, dtype=torch.bool)
    cut[:, -1] = True
    found = estimates(reward, value, next_value, torch.zeros_like(cut), cut, gamma=0.97, lam=1.0)
    torch.testing.assert_close(found.advantage, found.returns - value, rtol=1e-4, atol=1e-5)
