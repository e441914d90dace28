"""Freed memory is kept: tensors of the size of an update's cause no new page faults."""

import subprocess
import sys

import pytest

from utils.heap import CHOSEN_BY, keep_freed_memory

FAULTS = """
import resource, sys, torch
from utils.heap import keep_freed_memory
torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and keep_freed_memory()
layers = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(8))
for update in range(30):
    if update == 10:  # the heap has grown to what is needed
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x = torch.ones(32000, 64)
    for layer in layers:
        x = torch.nn.functional.elu(layer(x))
    x.sum().backward()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_what_an_update_frees_is_used_again():
    """Beside a process that leaves everything as it is: the heap learns by itself, too, but never all of it."""
    both = [
        subprocess.Popen([sys.executable, "-c", FAULTS, how], stdout=subprocess.PIPE, text=True)
        for how in ("keep", "leave")
    ]
    (kept, with_it), (_, without) = (process.communicate(timeout=100)[0].split() for process in both)
    if kept == "False":
        pytest.skip("another C library, or the environment chooses")
    assert int(with_it) < int(without) / 10, (with_it, without)


@pytest.mark.parametrize(
    "name", [*((name, "1") for name in CHOSEN_BY), ("GLIBC_TUNABLES", "glibc.malloc.top_pad=4096")]
)
def test_the_environment_decides(monkeypatch, name):
    monkeypatch.setenv(*name)
    assert not keep_freed_memory()
