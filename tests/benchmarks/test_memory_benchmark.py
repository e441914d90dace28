"""The peak of a piece of work is that of what it allocates."""

import subprocess
import sys

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


@pytest.mark.skipif(not LINUX, reason="no /proc")
def test_the_share_of_a_process_is_what_it_alone_has_written():
    code = f"held = b'1' * {SIZE}; print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    share = memory.own_share(child.pid)
    child.communicate(b"\n")
    assert SIZE < share < SIZE + 30e6
    assert memory.own_share(child.pid) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_on_cuda():
    device = torch.device("cuda")
    measured = memory.measure(lambda: torch.ones(SIZE, dtype=torch.uint8, device=device), device)
    assert SIZE <= measured.peak - measured.resting < SIZE * 1.1
