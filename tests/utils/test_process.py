"""Signals before a run stands."""

import os
import signal
import subprocess
import sys

import pytest

from utils.process import STOPS, answer, restore, signals_held

pytestmark = pytest.mark.usefixtures("hangups")
READY = "print('ready', flush=True); time.sleep(60)"


def started(script, **options):
    """A Python process that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal, sys, time; {script}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", STOPS)
def test_a_script_that_imports_ends_on_the_spot(number):
    """Also where a module that is being imported catches whatever it is."""
    process = started(
        f"from utils.process import begin; begin()\ntry: {READY}\nexcept BaseException: pass\ntime.sleep(60)"
    )
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def test_nohup_is_heeded():
    process = started(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from utils.process import begin, interruptible; begin()\n"
        "with interruptible(): print('ready', flush=True); print(sys.stdin.readline())",
        stdin=subprocess.PIPE,
    )
    process.send_signal(signal.SIGHUP)
    assert process.communicate("still here\n", timeout=30)[0].strip() == "still here"
    assert process.returncode == 0


def test_children_started_meanwhile_get_no_signals():
    with signals_held():
        child = started("print('ready', flush=True); print(sys.stdin.readline())", stdin=subprocess.PIPE)
    for number in STOPS:
        child.send_signal(number)
    assert child.communicate("still here\n", timeout=30)[0].strip() == "still here"


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in STOPS}
    seen = []
    replaced = answer(lambda number, frame: seen.append(number))
    for number in STOPS:
        os.kill(os.getpid(), number)
    restore(replaced)
    assert seen == list(STOPS)
    assert {number: signal.getsignal(number) for number in STOPS} == before


def test_a_signal_at_the_very_end_does_not_change_the_status():
    """A terminal that goes away sends SIGHUP more than once; the second may come while the interpreter ends."""
    process = started(
        "from utils.process import begin; begin()\n"
        "import os\n"
        "class Late:\n"
        "    def __del__(self, write=os.write, sleep=time.sleep): write(1, b'ready\\n'); sleep(1)\n"
        "sys.late = Late()\n"
        "raise SystemExit(7)"
    )
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 7
