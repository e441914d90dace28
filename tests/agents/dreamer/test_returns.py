import math

import pytest
import reference64 as ref
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dreamer.returns import StreamNorm, lambda_return, returns_valid
from agents.exploration.intrinsic_reward import Scored, everywhere

unit = st.floats(0, 1)


@settings(deadline=None, max_examples=60)
@given(horizon=st.integers(1, 16), discount=unit, lam=unit, seed=st.integers(0, 10_000))
def test_lambda_return_is_the_mixture_of_n_step_returns(horizon, discount, lam, seed):
    generator = torch.Generator().manual_seed(seed)
    reward, value = torch.randn(2, horizon + 1, 3, generator=generator).double()
    want = ref.n_step_mixture(reward, value, discount, lam)
    got = lambda_return(reward, value, discount, lam)
    assert got.shape == (horizon, 3)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_two_steps_by_hand():
    reward, value = torch.tensor([[1.0], [2.0], [99.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    second = 2 + 0.5 * 30
    first = 1 + 0.5 * (0.25 * 20 + 0.75 * second)
    torch.testing.assert_close(lambda_return(reward, value, 0.5, 0.75), torch.tensor([[first], [second]]))


def test_alignment_index_by_index():
    """What each G_t depends on: r_t .. r_14 and v_{t+1} .. v_15; never r_15, v_0 or anything earlier."""
    reward = torch.randn(16, 1).double().requires_grad_()
    value = torch.randn(16, 1).double().requires_grad_()
    target = lambda_return(reward, value, 0.99, 0.95)
    for t in range(15):
        by_reward, by_value = torch.autograd.grad(target[t, 0], [reward, value], retain_graph=True)
        for k in range(16):
            want_reward = (0.99 * 0.95) ** (k - t) if t <= k <= 14 else 0.0
            share = 0.05 if k < 15 else 1.0
            want_value = 0.99 * share * (0.99 * 0.95) ** (k - 1 - t) if k > t else 0.0
            assert by_reward[k].item() == pytest.approx(want_reward, abs=1e-12), (t, k)
            assert by_value[k].item() == pytest.approx(want_value, abs=1e-12), (t, k)


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=2, max_size=8))
def test_returns_valid(rows):
    valid = torch.tensor(rows)
    horizon = len(rows) - 1
    want = [[all(rows[k][n] for k in range(t, horizon)) for n in range(2)] for t in range(horizon)]
    got = returns_valid(valid)
    assert got.dtype == torch.bool and got.tolist() == want


# ---- StreamNorm


def test_stream_norm_by_hand():
    norm, mag = StreamNorm(momentum=0.9, scale=3.0, eps=1e-8), 1.0
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        reward = torch.randn(4, 5, generator=generator) * 10**seed / 100
        mag = 0.9 * mag + 0.1 * reward.double().abs().mean().item()
        got = norm(everywhere(reward))
        torch.testing.assert_close(got.double(), 3 * reward.double() / (mag + 1e-8), rtol=1e-5, atol=1e-6)
        assert norm.mag.item() == pytest.approx(mag, rel=1e-5)


def test_momentum_1_switches_it_off():
    norm = StreamNorm(momentum=1.0, scale=1.0, eps=1e-8)
    reward = 100 * torch.randn(4, 5)
    for _ in range(3):
        torch.testing.assert_close(norm(everywhere(reward)), reward)
    assert norm.mag.item() == 1


def test_momentum_0_is_the_batch_alone():
    norm = StreamNorm(momentum=0.0)
    norm(everywhere(torch.full((2, 2), 50.0)))
    torch.testing.assert_close(norm(everywhere(torch.tensor([[1.0, -3.0]]))), torch.tensor([[0.5, -1.5]]))


def test_invalid_entries_do_not_reach_the_magnitude():
    norm = StreamNorm(momentum=0.5)
    value = torch.tensor([[math.nan, 2.0], [1e9, -4.0]])
    valid = torch.tensor([[False, True], [False, True]])
    got = norm(Scored(value, valid))
    assert norm.mag.item() == pytest.approx(0.5 + 0.5 * 3)
    torch.testing.assert_close(got[:, 1], torch.tensor([1.0, -2.0]))


def test_a_batch_without_valid_entries_leaves_the_magnitude():
    norm = StreamNorm(momentum=0.5)
    norm(Scored(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool)))
    assert norm.mag.item() == 1


def test_valid_may_cover_leading_dimensions_only():
    norm = StreamNorm(momentum=0.0)
    norm(Scored(torch.tensor([[3.0, 5.0], [100.0, 100.0]]), torch.tensor([True, False])))
    assert norm.mag.item() == 4


def test_the_magnitude_is_a_constant_for_gradients():
    norm = StreamNorm(momentum=0.5, scale=2.0)
    reward = torch.tensor([1.0, -3.0, 5.0], requires_grad=True)
    norm(everywhere(reward)).sum().backward()
    torch.testing.assert_close(reward.grad, torch.full((3,), 2 / 2.0))  # mag = 0.5 + 0.5 * 3
    # a second backward pass through an earlier result still works after mag has moved
    first = norm(everywhere(reward)).sum()
    norm(everywhere(reward))
    first.backward()


def test_the_magnitude_is_saved():
    norm = StreamNorm(momentum=0.5)
    norm(everywhere(torch.full((3,), 9.0)))
    other = StreamNorm(momentum=0.5)
    other.load_state_dict(norm.state_dict())
    assert other.mag.item() == 5
