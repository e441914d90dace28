import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.meters import Meters, read

READS = ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__")


@pytest.fixture
def reads(monkeypatch):
    """Names of the host reads of any tensor so far."""
    seen = []
    for name in READS:
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _name=name, _original=original, **kwargs):
            seen.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    return seen


def test_mean_by_hand():
    meters = Meters()
    meters.add({"a": torch.tensor(1.0), "b": 2.0})
    meters.add({"a": torch.tensor(4.0), "b": 4, "c": torch.tensor(7, dtype=torch.int64)})
    assert meters.means() == {"a": 2.5, "b": 3.0, "c": 7.0}
    meters.clear()
    assert meters.means() == {}


def test_a_key_may_come_as_number_and_as_tensor():
    meters = Meters()
    meters.add({"a": 1.0})
    meters.add({"a": torch.tensor(2.0)})
    meters.add({"a": torch.tensor(6.0), "b": torch.tensor(0.0)})
    assert meters.means() == {"a": 3.0, "b": 0.0}


def test_tensors_are_not_read_before_means(reads):
    meters = Meters()
    for i in range(5):
        meters.add({"a": torch.full((), float(i)), "b": torch.tensor(True), "c": torch.tensor(2.0, requires_grad=True)})
    assert reads == []
    assert meters.means() == {"a": 2.0, "b": 1.0, "c": 2.0}
    assert len(reads) == 1, "one wait for the device, not one per metric"


def test_tensors_without_data_can_be_added():
    """A meta tensor has nothing to read, so any read would raise."""
    meters = Meters()
    for _ in range(2):
        meters.add({"a": torch.ones((), device="meta")})
    with pytest.raises(NotImplementedError):
        meters.means()


def test_values_are_copied_at_once():
    """CUDA graphs write each update's metrics into the same memory."""
    meters, static = Meters(), torch.zeros(())
    for value in (1.0, 5.0):
        static.fill_(value)
        meters.add({"a": static})
    static.fill_(1000.0)
    assert meters.means() == {"a": 3.0}


def test_no_graph_is_kept():
    meters = Meters()
    weight = torch.ones((), requires_grad=True)
    meters.add({"a": weight * 2})
    assert not next(iter(meters._groups.values())).total.requires_grad


def test_sums_are_float64():
    meters = Meters()
    meters.add({"big": torch.tensor(2**24 + 1, dtype=torch.int64), "small": torch.tensor(0.5, dtype=torch.bfloat16)})
    meters.add({"big": torch.tensor(2**24 + 3, dtype=torch.int64), "small": torch.tensor(0.25, dtype=torch.bfloat16)})
    assert meters.means() == {"big": 2.0**24 + 2, "small": 0.375}
    drift = Meters()
    for _ in range(1000):
        drift.add({"a": torch.tensor(0.1)})
    assert drift.means()["a"] == pytest.approx(float(torch.tensor(0.1)), abs=1e-13)


def test_works_inside_inference_mode():
    meters = Meters()
    with torch.inference_mode():
        meters.add({"a": torch.tensor(1.0)})
    meters.add({"a": torch.tensor(3.0)})
    assert meters.means() == {"a": 2.0}


def test_only_single_numbers():
    with pytest.raises(ValueError, match=r"'loss' has shape \(3,\)"):
        Meters().add({"loss": torch.zeros(3)})


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30),
    cut=st.integers(0, 30),
    odd=st.integers(1, 4),
)
def test_restored_meters_continue_to_the_last_bit(values, cut, odd):
    def feed(meters, start, stop):
        for i, value in list(enumerate(values))[start:stop]:
            meters.add({"a": torch.tensor(value), "host": value})
            if i % odd == 0:
                meters.add({"a": torch.tensor(value * 3), "b": torch.tensor(value)})

    whole = Meters()
    feed(whole, 0, None)
    first = Meters()
    feed(first, 0, cut)
    second = Meters()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    feed(second, cut, None)
    assert second.means() == whole.means()


def test_read_waits_once(reads):
    metrics = {f"m{i}": torch.tensor(float(i)) for i in range(10)} | {"host": 1}
    assert read(metrics) == {f"m{i}": float(i) for i in range(10)} | {"host": 1.0}
    assert len(reads) == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_add_does_not_wait_for_the_gpu():
    meters = Meters()
    values = {f"m{i}": torch.full((), float(i), device="cuda") for i in range(40)}
    state = None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            meters.add(values)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    state = meters.state_dict()
    restored = Meters()
    restored.load_state_dict(state)
    restored.add(values)
    assert restored.means() == {f"m{i}": float(i) for i in range(40)}
