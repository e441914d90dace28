"""Commands that go by another name now, for one release."""

import runpy
import sys

from utils.process import begin
from utils.streams import show


def run_moved(name: str) -> None:
    """Run ``python -m <name>`` in this process, with a note of its name on stderr."""
    begin()
    show(f"note: this command is python -m {name} now", sys.stderr)
    sys.argv[0] = name
    if sys.argv[1:2] == ["show"]:  # what is a command of its own now was one of several
        del sys.argv[1]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
