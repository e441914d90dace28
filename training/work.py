"""What a run is doing, and how long work of each kind takes on this machine."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

Kind = Literal["random step", "step", "update", "evaluation", "snapshot", "checkpoint", "trial"]
"""Steps of all environments with random actions and with the policy's; a trial is :mod:`training.trial`'s."""

MEMORY = 50
"""Pieces of work after whose number an old one hardly counts any more."""


class Pace:
    """Seconds of one piece of work: the mean of those that were timed, in which old ones fade."""

    def __init__(self) -> None:
        self.count = 0
        self.guess: float | None = None
        """What to go by until one is timed."""
        self._mean = 0.0

    @property
    def seconds(self) -> float | None:
        """None: nobody knows yet."""
        return self._mean if self.count else self.guess

    def add(self, seconds: float) -> None:
        """One more was timed."""
        self.count += 1
        self._mean += (seconds - self._mean) / min(self.count, MEMORY)

    def forget(self, guess: float | None) -> None:
        """What comes is not like what was: go by ``guess`` until one is timed."""
        self.count, self.guess, self._mean = 0, guess, 0.0


class Piece(NamedTuple):
    """A piece of work that is being done."""

    kind: Kind
    number: int
    """Which of :attr:`of` pieces in a row it is, from 1 on; of an evaluation, the episode that is played."""
    of: int
    began: float
    """On the clock of :class:`Work`, in seconds."""


class Work:
    """Times pieces of work of a run, and knows which one it is at.

    ``skips``: of each kind, how many at first are no measure of the others. Another thread may look at :attr:`now`.
    """

    def __init__(self, skips: Mapping[Kind, int] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now: Piece | None = None
        self.paces: dict[Kind, Pace] = {kind: Pace() for kind in get_args(Kind)}
        self.rounds = 0
        """Turns of the run's loop so far."""
        self._skips = dict(skips or {})
        self._inner = 0.0  # seconds of the pieces within the present one, or within the present round
        self._rest = 0.0  # seconds of all rounds that belong to no piece

    @contextmanager
    def piece(self, kind: Kind, number: int = 1, of: int = 1) -> Iterator[None]:
        """Inside, a piece of work is done. Pieces within it are not counted with it; one that ends in an exception is
        no measure.
        """
        outer, inner, began = self.now, self._inner, self.clock()
        self.now, self._inner = Piece(kind, number, of, began), 0.0
        own = 0.0
        try:
            yield
            own = self.clock() - began - self._inner
        finally:
            self.now, self._inner = outer, inner + self.clock() - began
        if self._skips.get(kind, 0) > 0:
            self._skips[kind] -= 1
        else:
            self.paces[kind].add(own)

    def at(self, number: int, of: int) -> None:
        """The present piece consists of ``of`` parts, and is at this one (from 1 on)."""
        if self.now is not None:
            self.now = self.now._replace(number=number, of=of)

    @contextmanager
    def round(self) -> Iterator[None]:
        """Inside is one turn of the run's loop."""
        began, self._inner = self.clock(), 0.0
        yield
        self.rounds += 1
        self._rest += self.clock() - began - self._inner

    @property
    def rest(self) -> float:
        """Seconds of a round that belong to no piece of work: logs, videos of what was learned, and the like."""
        return self._rest / self.rounds if self.rounds else 0.0

    @property
    def busy(self) -> float:
        """Seconds since the present piece began; 0 without one."""
        piece = self.now
        return 0.0 if piece is None else self.clock() - piece.began
