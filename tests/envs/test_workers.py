"""Environments in worker processes: the same numbers, and no hang, crash or signal without a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import worker_kit
from process_kit import alive, gone
from worker_kit import odd

from envs.vector import get_states, make_vector, set_states
from envs.workers import WorkerFailure
from utils.errors import UserError
from utils.process import STOPS

ROOT = Path(__file__).resolve().parents[2]
ACTION = np.zeros((2, 1), np.float32)


def actions(venv, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *venv.action_space.shape)).astype(np.float32)


def assert_same(one, two):
    np.testing.assert_array_equal(one[0]["observation"], two[0]["observation"])
    for a, b in zip(one[1:-1], two[1:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one[-1]["physics"], two[-1]["physics"])


def test_pixels_and_states_are_those_of_environments_in_this_process():
    settings = {"seed": 4, "render_quality": "lite", "image_size": 32}
    here = make_vector("walker_walk", 2, **settings)
    there = make_vector("walker_walk", 2, workers=True, **settings)
    try:
        assert_same(here.reset(), there.reset())
        for action in actions(here, 3):
            assert_same(here.step(action), there.step(action))
        for mask in ([False, True], [True, True]):
            options = {"reset_mask": np.array(mask)}
            assert_same(here.reset(options=dict(options)), there.reset(options=dict(options)))
            for action in actions(here, 2, seed=1):
                assert_same(here.step(action), there.step(action))
        states = get_states(here)
        for a, b in zip(states, get_states(there), strict=True):
            np.testing.assert_array_equal(a["actions"], b["actions"])
            np.testing.assert_array_equal(a["random"]["key"], b["random"]["key"])
        there.step(actions(here, 1, seed=2)[0])
        restored, expected = set_states(there, states), set_states(here, states)
        np.testing.assert_array_equal(restored["observation"], expected["observation"])
        assert restored["observation"].any()
        for action in actions(here, 2, seed=3):
            assert_same(here.step(action), there.step(action))
    finally:
        there.close()
    assert gone([process.pid for process in there.processes])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("hangs", r"environment 1 \(of 0 to 1\) has not answered within 1 s \(a step; collect.timeout=1\). Raise"),
        ("exits", r"environment 1 \(of 0 to 1\) has lost its process \(exit code 3\)\.$"),
        ("is killed", r"environment 1 .* \(ended by SIGKILL, perhaps for want of memory\)\.$"),
        ("raises", r"environment 1 .* raised ValueError: the action holds NaN\. .* collect.workers=false"),
    ],
)
def test_a_worker_that_fails_in_a_step_is_named(fault, said):
    venv = odd("", fault, timeout=1.0)
    pids = [process.pid for process in venv.processes]
    venv.reset()
    for _ in range(2):
        assert venv.step(ACTION)[1].tolist() == [venv.observations["observation"][0, 0]] * 2
    begun = time.monotonic()
    with pytest.raises(WorkerFailure, match=said) as caught:
        venv.step(ACTION)
    venv.close()
    assert time.monotonic() - begun < 20 and isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    assert not any(map(alive, pids))


def test_a_worker_that_dies_between_steps_is_named():
    venv = odd("", "", timeout=5.0)
    venv.reset()
    os.kill(venv.processes[0].pid, signal.SIGKILL)
    venv.processes[0].join()
    with pytest.raises(WorkerFailure, match="environment 0 .* SIGKILL"):
        venv.step(ACTION)
    venv.close()


def test_a_reset_that_hangs_is_named():
    venv = odd("hangs in reset", "", timeout=1.0)
    with pytest.raises(WorkerFailure, match="environment 0 .* within 1 s .a reset;"):
        venv.reset()
    venv.close()


def test_an_environment_that_cannot_be_made_is_named(monkeypatch):
    monkeypatch.setenv("ODD_PARENT", str(os.getpid()))
    with pytest.raises(WorkerFailure, match="environment 1 .* raised ValueError: no such model"):
        odd("", "unmade")


def test_signals_of_a_terminal_or_scheduler_do_not_end_a_worker():
    venv = odd("", "")
    try:
        venv.reset()
        for count, number in enumerate(STOPS, start=1):
            for process in venv.processes:
                os.kill(process.pid, number)
            assert venv.step(ACTION)[1].tolist() == [float(count)] * 2
    finally:
        venv.close()


def test_nor_one_that_starts_nor_the_tracker_of_their_memory():
    """All that this process has started is deaf to them from its first instruction on."""
    script = "import os, worker_kit; venv = worker_kit.odd('', ''); print(os.getpid(), flush=True); input()"
    program = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    {script}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    parent = int(program.stdout.readline())
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) == 3
    stops = sum(1 << (number - 1) for number in STOPS)
    blocked = {pid: mask(pid, "SigBlk") & stops for pid in children}
    assert [blocked[pid] | mask(pid, "SigIgn") & stops for pid in children] == [stops] * 3
    assert list(blocked.values()).count(stops) >= 2, "workers inherit it, and have it before they can ignore anything"
    assert mask(parent, "SigBlk") == 0
    program.communicate(b"\n", timeout=30)


def mask(pid, name):
    """One of the sets of signals of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)), 16)


def test_an_environment_that_prints_does_not_mind_a_console_that_is_gone():
    script = "import worker_kit; venv = worker_kit.odd('prints', ''); venv.reset(); import sys\n"
    script += "    for _ in range(20): rewards = venv.step(worker_kit.np.zeros((2, 1), 'f4'))[1]\n"
    script += "    venv.close(); print(*rewards, file=sys.stderr)"
    done = subprocess.run(
        f"set -o pipefail; {sys.executable} -c \"if __name__ == '__main__':\n    {script}\" | head -n 1",
        shell=True,
        executable="/bin/bash",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "20.0 20.0\n")


def test_workers_are_closed_in_the_middle_of_a_step():
    venv = odd("", "")
    venv.reset()
    venv.step_async(ACTION)
    venv.close()
    assert [process.exitcode for process in venv.processes] == [0, 0]


@pytest.mark.parametrize("end", ["wait", "forget"])
def test_no_worker_outlives_its_parent(end):
    """Killed for good while one worker hangs, and at an exit without close()."""
    program = [sys.executable, str(Path(worker_kit.__file__)), end]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        if end == "wait":
            assert all(map(alive, pids))
            parent.kill()
        assert parent.wait(timeout=30) == (-9 if end == "wait" else 0)
    assert gone(pids)


def test_a_suspended_run_goes_on():
    """All of a job stopped, in the middle of a step and for longer than a step may take, as schedulers do it."""
    program = [sys.executable, str(Path(worker_kit.__file__)), "step"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
    ) as parent:
        parent.stdout.readline()
        time.sleep(0.5)
        os.killpg(parent.pid, signal.SIGSTOP)
        time.sleep(3.5)
        os.killpg(parent.pid, signal.SIGCONT)
        assert parent.stdout.readline().split() == ["3.0", "3.0"]
        assert parent.wait(timeout=30) == 0


def test_a_worker_has_one_thread_and_no_torch(monkeypatch):
    import torch  # noqa: F401  this process has it

    for name in worker_kit.LOOKED_AT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    venv = odd("")
    try:
        (told,) = venv.call("look")
    finally:
        venv.close()
    assert told == {
        "torch": False,
        "pid": venv.processes[0].pid,
        "OMP_NUM_THREADS": "3",  # the user's own choice
        "OPENBLAS_NUM_THREADS": "1",
        "LP_NUM_THREADS": "0",
    }
    assert "OPENBLAS_NUM_THREADS" not in os.environ and "LP_NUM_THREADS" not in os.environ
