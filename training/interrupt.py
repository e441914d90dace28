"""Stops a run between two steps on Ctrl-C or SIGTERM, so that its last checkpoint is of a whole step."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class StopSignal:
    """Context manager: the first SIGINT or SIGTERM sets :attr:`received`, a second one stops at once.

    ``awaits`` says what has to be finished first. It is called between any two instructions of the run.
    """

    def __init__(self, awaits: Callable[[], str] = lambda: "this step") -> None:
        self.received = False
        self._awaits = awaits
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
        name = signal.Signals(number).name
        says = f"\n{name}: finishing {self._awaits()}, then saving; once more to stop at once, without saving\n"
        # not print: the signal may arrive in the middle of a write to the same stream
        os.write(2, says.encode())
