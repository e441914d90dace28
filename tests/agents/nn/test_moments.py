"""Running moments against every value seen, in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.nn.moments import RunningMoments


def merged(batches):
    """Mean and variance of a start of 1e-4 values (mean 0, variance 1) and batches, each with its unbiased variance.

    Sums of squares about zero: no merging formula.
    """
    count, total, squares = 1e-4, 0.0, 1e-4
    for batch in batches:
        n = len(batch)
        mean = sum(batch) / n
        variance = sum((x - mean) ** 2 for x in batch) / (n - 1)
        count, total, squares = count + n, total + n * mean, squares + n * (variance + mean**2)
    return total / count, squares / count - (total / count) ** 2


numbers = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=9)


@settings(deadline=None, max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=6))
def test_batches_are_merged(batches):
    moments = RunningMoments()
    for batch in batches:
        moments.update(torch.tensor(batch))
    mean, variance = merged(batches)
    assert moments.mean.shape == moments.var.shape == moments.count.shape == ()
    assert moments.mean.item() == pytest.approx(mean, abs=1e-4)
    assert moments.var.item() == pytest.approx(variance, abs=2e-3, rel=1e-4)
    assert moments.count.item() == pytest.approx(sum(map(len, batches)), rel=1e-4)


def test_start():
    moments = RunningMoments(3)
    assert moments.mean.tolist() == [0, 0, 0] and moments.var.tolist() == [1, 1, 1]
    assert moments.count.item() == pytest.approx(1e-4)


def test_every_entry_on_its_own():
    moments, single = RunningMoments(2, 3), RunningMoments()
    batches = torch.randn(4, 10, 2, 3) * torch.tensor([1.0, 10, 100]) + torch.tensor([[3.0], [-40]])
    for batch in batches:
        moments.update(batch)
        single.update(batch[:, 1, 2])
    assert moments.mean.shape == moments.var.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            mean, variance = merged(batches[:, :, i, j].tolist())
            assert moments.mean[i, j].item() == pytest.approx(mean, rel=1e-4, abs=1e-4)
            assert moments.var[i, j].item() == pytest.approx(variance, rel=1e-3)
    assert moments.var[1, 2].item() == pytest.approx(single.var.item(), rel=1e-6)


def test_a_long_stream_keeps_its_precision():
    """A count far above float32's 2^24, and a mean that is large against the spread."""
    generator = torch.Generator().manual_seed(0)
    moments = RunningMoments()
    values = torch.randn(1000, generator=generator) * 0.1 + 5
    for _ in range(3000):
        moments.update(values)
    moments.count.fill_(5e8)
    for _ in range(3000):
        moments.update(values)
    assert moments.mean.item() == pytest.approx(values.double().mean().item(), rel=1e-5)
    assert moments.var.item() == pytest.approx(values.double().var().item(), rel=1e-2)


def test_the_past_counts_as_much_as_it_has_values():
    moments = RunningMoments()
    moments.update(torch.zeros(300))
    moments.update(torch.ones(100))
    assert moments.mean.item() == pytest.approx(0.25, abs=1e-5)
    assert moments.var.item() == pytest.approx(0.25 * 0.75, abs=1e-5)


def test_the_state_is_in_buffers_and_updates_in_place():
    moments = RunningMoments(2)
    pointers = {name: b.data_ptr() for name, b in moments.named_buffers()}
    moments.update(torch.randn(5, 2))
    assert set(pointers) == {"mean", "var", "count"}
    assert {name: b.data_ptr() for name, b in moments.named_buffers()} == pointers
    other = RunningMoments(2)
    other.load_state_dict(copy.deepcopy(moments.state_dict()))
    batch = torch.randn(5, 2)
    moments.update(batch)
    other.update(batch)
    assert torch.equal(moments.mean, other.mean) and torch.equal(moments.var, other.var)
    assert list(moments.parameters()) == []


def test_no_gradient_and_float32():
    moments = RunningMoments()
    moments.update(torch.randn(8, requires_grad=True).bfloat16())
    assert moments.mean.dtype == moments.var.dtype == torch.float32
    assert not moments.mean.requires_grad and not moments.var.requires_grad
