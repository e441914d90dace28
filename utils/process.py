"""How a process of ours ends: the signals that ask it to, and what it does about them while no run stands."""

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from utils import streams

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a scheduler, a terminal that goes away."""

STOPPED = 130
"""The exit status of a process that one of them has ended."""


def begin() -> None:
    """The first call of a script, before its imports: streams that end nothing, and :func:`leave_on_signals`."""
    streams.protect()
    leave_on_signals()
    # the first to be registered is the last to run: after it Python takes handlers away, and a second SIGHUP would
    # decide the exit status
    atexit.register(answer, signal.SIG_IGN)


def leave_on_signals() -> None:
    """From here on a stop signal ends this process on the spot, with status :data:`STOPPED`: it has nothing to lose.

    Not by an exception, which modules that are being imported might catch.
    """
    answer(lambda number, frame: os._exit(STOPPED))


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block every stop signal raises KeyboardInterrupt, as Python has it for Ctrl-C."""
    before = answer(signal.default_int_handler)
    try:
        yield
    finally:
        restore(before)


@contextmanager
def signals_held() -> Iterator[None]:
    """Child processes that are started inside never get a stop signal: terminals and schedulers send them to all
    processes of a job, and it is this one that decides about its children. Its own come when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer(handler: Handler) -> dict[int, Any]:
    """Have ``handler`` called for every stop signal, but for a SIGHUP that ``nohup`` has switched off.

    Returns what :func:`restore` takes. Only the main thread may set handlers; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    ignored = [s for s in STOPS if s not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(s) is signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in STOPS if number not in ignored}


def restore(before: dict[int, Any]) -> None:
    """Put the handlers back that :func:`answer` has replaced; one that Python did not set stays replaced."""
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)
