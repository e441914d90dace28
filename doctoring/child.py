"""Code in a process of its own: what crashes or hangs there does not take the doctor along."""

import subprocess
import sys
from typing import NamedTuple

TIMEOUT = 120.0
"""Seconds that an import may take: on a busy machine with a cold disk half a minute has been seen."""


class Done(NamedTuple):
    """``failure``: why it did not work, or empty."""

    out: str
    failure: str


def run_python(code: str, timeout: float = TIMEOUT) -> Done:
    """Run ``code`` with this interpreter; a non-zero exit, a crash and a hang of ``timeout`` s are failures."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done("", f"no answer within {timeout:g} s")
    if done.returncode == 0:
        return Done(done.stdout, "")
    lines = done.stderr.strip().splitlines()
    if done.returncode < 0 or not lines:
        return Done("", f"the process ended with code {done.returncode}")
    return Done("", lines[-1])
