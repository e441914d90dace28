"""Freed memory is kept: tensors of the size of an update's cause no new page faults."""

import subprocess
import sys

import pytest

from utils.heap import CHOSEN_BY, keep_freed_memory

FAULTS = """
import resource, torch
from utils.heap import keep_freed_memory
torch.set_num_threads(1)
layers = torch.nn.ModuleList(torch.nn.Linear(256, 256) for _ in range(8))
def faults():
    found = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        x = torch.ones(8000, 256)
        for layer in layers:
            x = torch.nn.functional.elu(layer(x))
        x.sum().backward()
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(found)  # now and then the heap grows, by where it begins in this process
print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_what_an_update_frees_is_used_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=100)
    without, kept, with_it = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library, or the environment chooses")
    assert int(with_it) < int(without) / 10, done.stdout


@pytest.mark.parametrize(
    "name", [*((name, "1") for name in CHOSEN_BY), ("GLIBC_TUNABLES", "glibc.malloc.top_pad=4096")]
)
def test_the_environment_decides(monkeypatch, name):
    monkeypatch.setenv(*name)
    assert not keep_freed_memory()
