"""The line at the bottom of a terminal that shows how far a run is, and goes on moving while the run is busy."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from tqdm import tqdm

FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s [{elapsed}{postfix}]"

BEAT = 1.0
"""Seconds between two pictures while nobody calls."""

SHORTEST = 0.5
"""Seconds between two pictures, at least."""

GONE = (OSError, ValueError)
"""What writing to a terminal that is not there any more, or to a closed stream, ends in."""


class LiveLine:
    """A bar from 0 to ``total`` that stands at ``frame``, and behind it what ``says`` returns; both count ``unit``s.

    On a terminal a thread draws it anew every second, so ``says`` may be called from there; elsewhere only :meth:`move`
    does. What it draws on may vanish: nothing is drawn then, and nobody is disturbed.
    """

    def __init__(self, total: int, frame: int, says: Callable[[], str], stream: TextIO, unit: str = "frame") -> None:
        self.frame, self._says = frame, says
        self._bar = tqdm(
            total=total,
            initial=frame,
            unit=unit,
            unit_scale=True,
            bar_format=FORMAT,
            dynamic_ncols=True,
            file=stream,
        )
        self._drawn = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="live line", daemon=True)
        if stream.isatty():
            self._thread.start()

    def move(self, frame: int) -> None:
        """Stand at ``frame``; cheap enough for every step."""
        self.frame = frame
        if time.monotonic() - self._drawn >= SHORTEST:
            self._draw()

    def close(self) -> None:
        """Draw it a last time and leave it as it is."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=BEAT)
        self._draw()
        with suppress(*GONE), self._bar.get_lock():
            self._bar.close()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            self._draw()

    def _draw(self) -> None:
        words = self._says()
        # the lock is held here: tqdm's own refresh would keep it for ever when a write fails
        with suppress(*GONE), self._bar.get_lock():
            self._bar.n = self.frame
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.refresh(nolock=True)
        self._drawn = time.monotonic()
