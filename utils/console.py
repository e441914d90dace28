"""What a run prints: one line per episode or evaluation, and a progress bar when somebody is watching."""

import math
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

from utils.log_layout import LogLayout

_COLOURS = {"train": "\033[33m", "eval": "\033[32m"}  # yellow, green
_RESET = "\033[0m"


def format_line(prefix: str, values: Mapping[str, float], layout: LogLayout, colour: bool = False) -> str:
    """The line of one episode (``prefix="train"``) or evaluation (``"eval"``).

    ``values`` are looked up under the CSV's names: frames, agent steps, frames per episode, seconds. Missing ones print
    as 0. With ``colour`` only invisible codes are added: the visible text is the same.

    As ``| eval           | F: 7000 | S: 3500 | E: 0 | L: 0 | R: 12.3456 | T: 0:01:30``.
    """
    padding = " " * (layout.width - len(prefix))
    name = f"{_COLOURS.get(prefix, '')}{prefix}{_RESET}" if colour else prefix
    fields = [f"{label}: {_format(values.get(key, 0), kind)}" for key, label, kind in layout.fields[prefix]]
    return " | ".join([f"| {name}{padding}", *fields])


def format_time(seconds: float) -> str:
    """Seconds as h:mm:ss; hours go on counting after a day."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def wants_colour(stream: TextIO) -> bool:
    """Colour codes only for a terminal, and not against the user's will (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _format(value: float, kind: str) -> str:
    if not math.isfinite(value):
        return str(float(value))
    if kind == "int":
        return str(int(value))
    if kind == "seconds":
        return f"{value:.1f} s"
    return format_time(value) if kind == "time" else f"{value:.4f}"


class Console:
    """Lines on stdout and, on a terminal, a progress bar with the time left on stderr.

    Args:
        total_frames: where the bar ends, in frames.
        progress: whether to draw the bar; None: only when stderr is a terminal.
        layout: what a line shows.
    """

    def __init__(self, total_frames: int, layout: LogLayout, progress: bool | None = None) -> None:
        self._total, self._layout = total_frames, layout
        self._enabled = sys.stderr.isatty() if progress is None else progress
        self._bar: tqdm | None = None

    def line(self, prefix: str, values: Mapping[str, float]) -> None:
        """Print ``format_line`` to stdout."""
        self.say(format_line(prefix, values, self._layout, wants_colour(sys.stdout)))

    def say(self, text: str) -> None:
        """Print any text to stdout without tearing the bar."""
        if self._bar is None:
            print(text, flush=True)
        else:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def tick(self, frame: int) -> None:
        """Move the bar to ``frame``. The first call sets its origin: a resumed run's rate counts new frames only."""
        if not self._enabled:
            return
        if self._bar is None:
            self._bar = tqdm(
                total=self._total,
                initial=frame,
                unit=" frames",
                unit_scale=True,
                smoothing=0.05,  # evaluations and snapshots are pauses, not a trend
                mininterval=0.5,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        self._bar.update(frame - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is and let go of the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
