"""Runs as child processes that are stopped with their study, and found again where they were not."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from entry.lock import LOCK
from utils.advice import ROOT, command, in_shell
from utils.locks import Busy, lock

PDEATHSIG = 1
"""Of ``prctl(2)``: the signal that a process gets when its parent dies."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that tell torch how many threads to take."""

try:
    _prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
except (OSError, AttributeError):
    _prctl = None


class Child:
    """One of the scripts, started; its console is appended to ``log``."""

    def __init__(self, script: str, words: Sequence[str], log: Path, threads: int | None) -> None:
        self.line = command_line(script, words, threads)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            _put(file, f"\n$ {self.line}\n".encode())
            # in a session of its own: Ctrl-C on the terminal is for the study, which passes it on once
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / script), *(word for part in words for word in shlex.split(part))],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables(threads)},
                start_new_session=True,
                preexec_fn=_with_parent(os.getpid()),
            )

    @property
    def status(self) -> int | None:
        """Its exit status, below 0 for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save what it has, and end."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it where it is."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The last line it has said that says something: of a run that failed, its error."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip() and not line.startswith("$ ")]
        errors = [line for line in said[-30:] if line.startswith("error:")]
        return (errors or said or [""])[-1][:300]


def variables(threads: int | None) -> dict[str, str]:
    """What is set in the environment of a run with so many threads."""
    return {} if threads is None else dict.fromkeys(THREADS, str(threads))


def command_line(script: str, words: Sequence[str], threads: int | None) -> str:
    """What a user would type for the same."""
    set_before = [in_shell(f"{key}={value}") for key, value in variables(threads).items()]
    return " ".join([*set_before, command(script, *words)])


def in_use(run_dir: Path) -> bool:
    """Whether a process is still at work in a run folder: one whose study was killed may be saving what it has."""
    try:
        descriptor = os.open(run_dir / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        lock(descriptor)
        return False
    except Busy:
        return True
    finally:
        os.close(descriptor)


def _with_parent(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes a script: from then on it is asked to end when its parent dies."""
    if _prctl is None:
        return None

    def ask() -> None:
        _prctl(PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it has died already
            os._exit(1)

    return ask


def _put(file: BinaryIO, text: bytes) -> None:
    with suppress(OSError):  # a full disk: the run will say so itself
        file.write(text)
        file.flush()
