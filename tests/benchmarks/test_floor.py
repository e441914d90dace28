"""The counts that benchmarks divide by are those of the operations that are really made."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import drq, floor


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


def test_the_rate_is_that_of_the_best_round(monkeypatch):
    monkeypatch.setattr(floor, "SIZE", 64)
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(floor, "ROUNDS", 3)
    monkeypatch.setattr(floor.time, "perf_counter", lambda: next(ticks))
    assert floor.matmul_rate() == 2 * 64**3
    assert torch.get_num_threads() == 1
