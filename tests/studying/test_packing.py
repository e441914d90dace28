"""How many runs have room side by side, by hand."""

import pytest

from studying.packing import CONTEXT_BYTES, MARGIN, ROUGH, Machine, Need, needs_of, packed, this_machine
from studying.plan import plan
from studying.settings import read_request

GB = 10**9
CPU = Need(2 * GB, 0)
GPU = Need(3 * GB, 1 * GB)
SHARE = ROUGH * GB + CONTEXT_BYTES


@pytest.mark.parametrize(
    "machine, need, threads, runs, jobs, by",
    [
        (Machine(8, 100 * GB, None), CPU, 1, 99, 8, "cores"),
        (Machine(8, 100 * GB, None), CPU, 3, 99, 2, "cores"),
        (Machine(8, 100 * GB, None), CPU, None, 99, 1, "cores"),  # torch takes them all
        (Machine(8, 10 * GB, None), CPU, 1, 99, 4, "memory"),  # 9 of 10 GB
        (Machine(8, 1 * GB, None), CPU, 1, 99, 1, "memory"),  # one at least
        (Machine(8, None, None), CPU, 1, 99, 8, "cores"),
        (Machine(8, 100 * GB, None), CPU, 1, 3, 3, "3 runs"),
        (Machine(2, 100 * GB, None), CPU, 4, 9, 1, "cores"),
        (Machine(64, 900 * GB, 80 * GB), GPU, None, 99, int((1 - MARGIN) * 80 * GB // SHARE), "GPU"),
        (Machine(16, 900 * GB, 80 * GB), GPU, None, 99, 16, "cores"),  # a core each, at least
        (Machine(64, 20 * GB, 80 * GB), GPU, None, 99, 6, "memory"),
        (Machine(64, 900 * GB, 1 * GB), GPU, None, 99, 1, "GPU"),
        (Machine(64, 900 * GB, None), GPU, None, 99, 64, "cores"),  # what is free there cannot be read
    ],
)
def test_packed(machine, need, threads, runs, jobs, by):
    found = packed(machine, [need], threads, runs)
    assert found.jobs == jobs and by in found.by


def test_the_largest_run_counts():
    machine = Machine(8, 10 * GB, None)
    assert packed(machine, [CPU, Need(5 * GB, 0), CPU], 1, 99).jobs == 1
    assert packed(machine, [], 1, 0).jobs == 1


def test_forecasts_of_a_study_and_this_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked = read_request(["study=walker_states_small", "agents=[lbs_dreamer]", "variants={}", "skills=null"])
    needs = needs_of(plan(asked))
    assert len(needs) == 3 and all(need.gpu == 0 and need.memory > GB / 2 for need in needs)
    here = this_machine()
    assert here.cores >= 1 and here.gpu is None


def test_on_a_gpu_the_learner_is_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    asked = read_request(
        ["study=urlb_pixels", "agents=[lbs_dreamer]", "variants={}", "baselines=[]", "tasks=[walker_run]"]
    )
    assert all(need.gpu > GB / 10 for need in needs_of(plan(asked)))
