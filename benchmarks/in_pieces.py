"""A run of one of the scripts in pieces of some minutes, on a machine that is lent for no longer.

python benchmarks/in_pieces.py minutes=8 run=runs/stand dreamer_finetune.py configs=dmc_pixels task=walker_stand ...

Begins the run in the folder ``run``, or goes on with the one that is there (the words after the script are not needed
then). After ``minutes`` it is asked to stop: it writes its checkpoint and ends, and the same line goes on with it, here
or where the folder was copied to. The exit status is 0 when the run is finished, 3 while it is not.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from utils.process import begin

    begin()

from benchmarks import arguments
from entry.scripts import SCRIPTS
from utils.advice import ROOT, override
from utils.errors import UserError, unknown_value
from utils.rules import POSITIVE, TEXT

UNFINISHED = 3
LAST = 60.0
"""Seconds that a run has for its checkpoint."""


def command(script: str, run: Path, words: Sequence[str]) -> list[str]:
    """The command line that begins the run, or goes on with it."""
    words = [override("resume", run)] if (run / "checkpoint.pt").is_file() else [*words, override("hydra.run.dir", run)]
    return [sys.executable, str(ROOT / script), *words]


def piece(line: Sequence[str], seconds: float) -> bool:
    """Have the run go on for ``seconds``; returns whether it is finished. Raises :class:`UserError` where it failed."""
    began = time.monotonic()
    child = subprocess.Popen(list(line), stdin=subprocess.DEVNULL)
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGTERM)
        child.wait(LAST)
        return False
    finally:
        if child.poll() is None:
            child.terminate()
    if status:
        raise UserError(f"the run ended with status {status} after {time.monotonic() - began:.0f} s; see above.")
    return True


def main(words: Sequence[str]) -> int:
    """See the module."""
    scripts = {script.file for script in SCRIPTS.values()}
    at = next((i for i, word in enumerate(words) if "=" not in word), len(words))
    if at == len(words):
        raise UserError(f"name a script: one of {', '.join(sorted(scripts))}.")
    if words[at] not in scripts:
        raise unknown_value("script", words[at], scripts)
    values = arguments.own(words[:at], {"minutes": 8.0, "run": "run"}, {"minutes": POSITIVE, "run": TEXT})
    run = Path(values["run"]).absolute()
    if piece(command(words[at], run, words[at + 1 :]), 60 * values["minutes"]):
        print(f"finished: {run}")
        return 0
    print(f"not finished: the same line goes on with {run}")
    return UNFINISHED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
