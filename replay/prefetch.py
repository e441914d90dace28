"""The next batch, drawn by a thread while the device computes and environments step."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import NamedTuple

from replay.batch import Host


class Origin(NamedTuple):
    """All that a draw follows from: what is drawn twice from the same origin is the same, bit for bit."""

    sampler: dict[str, object]
    """The sampler's random state."""
    version: int
    """Of the index of episodes."""


class Drawn(NamedTuple):
    """What was drawn."""

    origin: Origin
    after: dict[str, object]
    """The sampler's random state after the draw."""
    host: Host


class _Job(NamedTuple):
    future: Future[Drawn]
    draw: Callable[[Host], Drawn]
    host: Host


class Prefetch:
    """Draws one batch ahead, which is used if it is what would be drawn now, and forgotten otherwise.

    A draw ahead changes nothing: it has a random state of its own, and the replay's sampler moves on only when the
    batch is taken. So checkpoints, updates that are taken back and other draws need not know about it.

    The thread waits between draws: to start one takes longer than many a draw. It ends when this object is gone, and as
    a daemon it keeps no process from ending. It must make no CUDA calls: the caller may be capturing a graph, which
    they would break.
    """

    def __init__(self) -> None:
        self._pending: tuple[Origin, Future[Drawn]] | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._jobs,), name="replay-prefetch", daemon=True).start()
        weakref.finalize(self, self._jobs.put, None)

    def begin(self, origin: Origin, draw: Callable[[Host], Drawn], host: Host) -> None:
        """Draw from ``origin``, the present one, into ``host``, tensors that the caller's thread has allocated.

        ``draw`` is kept no longer than the draw takes: its owner may be the one that owns this object.
        """
        future: Future[Drawn] = Future()
        self._jobs.put(_Job(future, draw, host))
        self._pending = origin, future

    def take(self, origin: Origin) -> Drawn | None:
        """What was drawn ahead from ``origin``, waiting for it if need be; None if nothing was.

        Raises what the thread has raised. The caller must hold no lock that ``draw`` needs.
        """
        pending, self._pending = self._pending, None
        if pending is None or pending[0] != origin:
            return None
        return pending[1].result()


def _work(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        try:
            job.future.set_result(job.draw(job.host))
        except BaseException as error:  # for the caller, whatever it is
            job.future.set_exception(error)
        del job  # it keeps the replay alive, which would keep this thread alive
