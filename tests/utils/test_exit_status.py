"""How a tool ends."""

import os
import signal
import subprocess
import sys

import pytest

from utils.errors import UserError, exit_status
from utils.process import STOPS

pytestmark = pytest.mark.usefixtures("hangups")
TOOL = "import sys, time; from utils.errors import exit_status; sys.exit(exit_status({body})())"
LONG = "lambda: print('a line\\n' * 100_000)"


def run(body, redirection=""):
    """A tool in bash; (exit status, stderr)."""
    script = TOOL.format(body=body)
    done = subprocess.run(
        f'set -o pipefail; {sys.executable} -c "{script}" {redirection}',
        shell=True,
        executable="/bin/bash",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("redirection", ["| head -n 1", ">&-", "2>&- | head -n 1"])
def test_a_reader_that_has_seen_enough(redirection):
    assert run(LONG, redirection) == (0, "")


def test_an_output_that_cannot_be_written_is_an_error():
    status, errors = run(LONG, ">/dev/full")
    assert status == 1
    assert errors.startswith("error: stdout") and len(errors.splitlines()) == 1


def test_an_error_that_nobody_sees_is_one_all_the_same(capsys, monkeypatch):
    @exit_status
    def refused():
        raise UserError("key=value is not possible.")

    assert refused() == 1
    assert capsys.readouterr().err == "error: key=value is not possible.\n"
    monkeypatch.setattr(sys, "stderr", None)
    assert refused() == 1


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal(number):
    before = signal.getsignal(number)

    @exit_status
    def stopped():
        os.kill(os.getpid(), number)

    assert stopped() == 130
    assert signal.getsignal(number) == before
