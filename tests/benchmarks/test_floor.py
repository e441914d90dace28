"""The counts that benchmarks divide by are those of the operations that are really made."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import clock, dreamer_operations, drq, floor, learner


@pytest.mark.parametrize("size", [84, 64])
def test_the_count_of_drq_is_what_torch_counts(monkeypatch, size):
    monkeypatch.setattr(drq, "BATCH", 2)
    agent, batch = drq.build(size)
    with FlopCounterMode(display=False) as counter:
        for _ in range(2):  # one with the actor, one without
            agent.update(batch)
    assert counter.get_total_flops() / 2 == drq.floating_point_operations(size)


def test_the_published_count():
    assert drq.floating_point_operations(84) == pytest.approx(123.26e9, rel=1e-4)
    assert drq.floating_point_operations(64) == pytest.approx(68.80e9, rel=1e-4)


@pytest.mark.parametrize(("batch", "length"), [(2, 3), (1, 5)])
def test_the_count_of_dreamer_is_what_torch_counts(batch, length):
    config = learner.settings(["device=cpu", f"batch_size={batch}", f"batch_length={length}"])
    agent, records = learner.build(config, "off", torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        agent.update(records)
    assert counter.get_total_flops() == pytest.approx(
        dreamer_operations.floating_point_operations(batch, length), rel=0.03
    )


def test_dreamers_table_of_operations_is_true():
    rows = re.findall(r"  ([a-zA-Z]+(?: head)?) +(\d+\.\d\d)$", dreamer_operations.__doc__, re.MULTILINE)
    table = {name: float(value) for name, value in rows}
    total = table.pop("sum")
    assert table == {name: round(value / 1e9, 2) for name, value in dreamer_operations.parts(16, 16).items()}
    assert total == round(dreamer_operations.floating_point_operations(16, 16) / 1e9, 2)
    assert total == pytest.approx(sum(table.values()), abs=0.05)
    assert "2.03 GFLOP (0.95 %)" in dreamer_operations.__doc__
    assert dreamer_operations.PUBLISHED / 1e9 - total == pytest.approx(2.03, abs=0.01)


def test_the_numerator_of_dreamers_floor_is_fixed():
    assert dreamer_operations.floor_operations(16, 16) == 215e9
    assert dreamer_operations.floor_operations(50, 50) == 215e9 * 2500 / 256


def test_the_rate_is_that_of_the_best_round(monkeypatch):
    monkeypatch.setattr(floor, "SIZE", 64)
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(floor, "ROUNDS", 3)
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(ticks))
    assert floor.matmul_rate() == 2 * 64**3
    assert torch.get_num_threads() == 1
