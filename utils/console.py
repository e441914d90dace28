"""What a run prints: one line per episode or evaluation, and a progress bar when somebody is watching."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from utils.live_line import LiveLine
from utils.log_layout import LogLayout
from utils.streams import is_terminal, show

_COLOURS = {"train": "\033[33m", "eval": "\033[32m"}  # yellow, green
_RESET = "\033[0m"

SILENCE = 60.0
"""Seconds without any line after which a run that nobody watches says where it is; twice as long each time."""

LONGEST_SILENCE = 600.0


def format_line(prefix: str, values: Mapping[str, float], layout: LogLayout, colour: bool = False) -> str:
    """The line of one episode (``prefix="train"``) or evaluation (``"eval"``).

    ``values`` are looked up under the CSV's names: frames, agent steps, frames per episode, seconds. Missing ones print
    as 0, or not at all where the layout says so. With ``colour`` only invisible codes are added: the visible text is
    the same.

    As ``| eval           | F: 7000 | S: 3500 | E: 0 | L: 0 | R: 12.3456 | T: 0:01:30``.
    """
    padding = " " * (layout.width - len(prefix))
    name = f"{_COLOURS.get(prefix, '')}{prefix}{_RESET}" if colour else prefix
    fields = [
        f"{label}: {_format(values.get(key, 0), kind)}"
        for key, label, kind, always in layout.fields[prefix]
        if always or key in values
    ]
    return " | ".join([f"| {name}{padding}", *fields])


def format_time(seconds: float) -> str:
    """Seconds as h:mm:ss; hours go on counting after a day."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def wants_colour(stream: TextIO | None) -> bool:
    """Colour codes only for a terminal, and not against the user's will (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _format(value: float, kind: str) -> str:
    if not math.isfinite(value):
        return str(float(value))
    if kind == "int":
        return str(int(value))
    if kind == "seconds":
        return f"{value:.1f} s"
    return format_time(value) if kind == "time" else f"{value:.4f}"


class Console:
    """Lines on stdout and, on a terminal, a progress bar on stderr.

    Args:
        total_frames: where the bar ends, in frames.
        progress: whether to draw the bar; None: only when stderr is a terminal, and a line on stdout now and then
            where it is none.
        layout: what a line shows.
        clock: seconds from any origin; tests put their own.
    """

    def __init__(
        self,
        total_frames: int,
        layout: LogLayout,
        progress: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._layout, self._clock = total_frames, layout, clock
        self._enabled = is_terminal(sys.stderr) if progress is None else progress
        self._bar: LiveLine | None = None
        self._spoken, self._silence = clock(), SILENCE if progress is None else math.inf
        self.says: Callable[[], str] = str
        """What stands behind the bar; called from another thread, too."""

    def line(self, prefix: str, values: Mapping[str, float]) -> None:
        """Print ``format_line`` to stdout."""
        self.say(format_line(prefix, values, self._layout, wants_colour(sys.stdout)))

    def say(self, text: str) -> None:
        """Print any text to stdout without tearing the bar."""
        self._spoken = self._clock()
        if self._bar is None:
            show(text, sys.stdout)
        else:
            with self._drawing(), tqdm.external_write_mode():
                show(text, sys.stdout)

    def tick(self, frame: int) -> None:
        """Move the bar to ``frame``, which it is drawn at from the first call on."""
        if not self._enabled:
            self._break_silence(frame)
        elif self._bar is None:
            with self._drawing():
                self._bar = LiveLine(self._total, frame, lambda: self.says(), sys.stderr, self._layout.unit)
        else:
            self._bar.move(frame)

    def _break_silence(self, frame: int) -> None:
        if self._clock() - self._spoken >= self._silence:
            self.say(f"at {self._layout.unit} {frame} of {self._total}: {self.says()}")
            self._silence = min(2 * self._silence, LONGEST_SILENCE)

    def close(self) -> None:
        """Leave the bar as it is and let go of the terminal."""
        if self._bar is not None:
            with self._drawing():
                self._bar.close()
            self._bar = None

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """A bar that cannot be drawn is not drawn any more."""
        try:
            yield
        except (OSError, ValueError):  # the latter from a closed stream
            self._enabled, self._bar = False, None
