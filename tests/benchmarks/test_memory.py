"""The peak of a piece of work is that of what it allocates."""

import pytest
import torch

from benchmarks import memory

SIZE = 96_000_000
LINUX = memory.STATUS.exists() and memory.RESET.exists()


@pytest.mark.skipif(not LINUX, reason="no /proc")
def test_the_peak_counts_what_is_gone_again():
    measured = memory.measure(lambda: torch.ones(SIZE, dtype=torch.uint8), torch.device("cpu"))
    assert SIZE * 0.95 < measured.peak - measured.resting < SIZE * 1.3


@pytest.mark.skipif(not LINUX, reason="no /proc")
def test_what_was_freed_before_hides_nothing():
    def work():
        return [torch.ones(50_000, dtype=torch.uint8) for _ in range(SIZE // 50_000)]  # too small to be mapped singly

    first = memory.measure(work, torch.device("cpu"))
    second = memory.measure(work, torch.device("cpu"))
    for measured in (first, second):
        assert SIZE * 0.95 < measured.peak - measured.resting < SIZE * 1.3


def test_without_proc_the_work_is_done_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "RESET", tmp_path / "missing" / "clear_refs")
    calls = []
    assert memory.measure(lambda: calls.append(1), torch.device("cpu")) is None
    assert calls == [1]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_on_cuda():
    device = torch.device("cuda")
    measured = memory.measure(lambda: torch.ones(SIZE, dtype=torch.uint8, device=device), device)
    assert SIZE <= measured.peak - measured.resting < SIZE * 1.1
