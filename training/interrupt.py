"""Stops a run between two steps when a signal asks for it, so that its last checkpoint is of a whole step."""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from utils.process import answer, restore
from utils.streams import tell

SAME_SECONDS = 0.5
"""Within so many seconds of the one before a signal is the same one: ``timeout`` sends it to the process and again to
its group, and wrappers pass on what the terminal has sent to all."""

_standing: "list[StopSignal]" = []


def this_step() -> str:
    """What there is to finish where nobody says more."""
    return "this step"


class StopSignal:
    """Context manager: the first SIGINT, SIGTERM or SIGHUP sets :attr:`received`, a second one stops at once.

    SIGHUP is never a second one: a terminal that goes away sends it several times. It may be entered again inside.

    ``awaits`` says what has to be finished first. It is called between any two instructions of the run.
    """

    def __init__(self, awaits: Callable[[], str] = this_step) -> None:
        self.received = False
        self.awaits = awaits
        self._last = -SAME_SECONDS
        self._previous: list[dict[int, Any]] = []

    @classmethod
    def standing(cls, awaits: Callable[[], str] = this_step) -> "StopSignal":
        """The one that this process is in, with these ``awaits`` from now on; one of its own otherwise."""
        if not _standing:
            return cls(awaits)
        _standing[-1].awaits = awaits
        return _standing[-1]

    def __enter__(self) -> "StopSignal":
        self._previous.append(answer(self._handle))
        _standing.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _standing.pop()
        restore(self._previous.pop())

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.received:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again, self._last = now - self._last < SAME_SECONDS, now
        if self.received:
            if again or number not in (signal.SIGINT, signal.SIGTERM):
                return
            raise KeyboardInterrupt
        self.received = True
        name = signal.Signals(number).name
        tell(2, f"\n{name}: finishing {self.awaits()}, then saving; once more to stop at once, without saving")
