import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.exploration.intrinsic_reward import everywhere
from agents.nn.means import masked_mean, weighted_mean

entries = st.lists(st.tuples(st.floats(-100, 100, width=32), st.booleans()), min_size=1, max_size=20)


@given(entries)
def test_masked_mean(pairs):
    value = torch.tensor([v for v, _ in pairs])
    valid = torch.tensor([k for _, k in pairs])
    kept = [v for v, k in pairs if k]
    want = sum(kept) / len(kept) if kept else 0.0
    assert masked_mean(value, valid).item() == pytest.approx(want, abs=1e-3)


@pytest.mark.parametrize("filler", [math.nan, math.inf, -math.inf, 1e30])
def test_entries_outside_may_be_anything(filler):
    value = torch.tensor([1.0, filler, 3.0], requires_grad=True)
    mean = masked_mean(value, torch.tensor([True, False, True]))
    mean.backward()
    assert mean.item() == 2
    assert value.grad.tolist() == [0.5, 0.0, 0.5]


def test_everywhere():
    value = torch.full((2, 3), math.nan)
    scored = everywhere(value)
    assert scored.value is value and scored.valid.dtype == torch.bool
    assert scored.valid.shape == (2, 3) and scored.valid.all()


def test_weighted_mean():
    assert weighted_mean(torch.tensor([1.0, 3, 8]), torch.tensor([0.1, 0.3, 0.0])).item() == pytest.approx(2.5)
    assert weighted_mean(torch.tensor([1.0, 3]), torch.tensor([False, False])).item() == 0
