"""Starts the runs of a study, as many side by side as wanted, until none is left that can be started."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from studying import records
from studying.board import Board
from studying.children import in_use
from studying.journal import Journal
from studying.plan import Planned
from training.interrupt import StopSignal
from utils.errors import UserError
from utils.process import STOPPED

POLL = 0.05
"""Seconds between two looks at the runs."""

LOOK = 1.0
"""Seconds between two looks at what other processes do."""


class Process(Protocol):
    """A started run, see :class:`studying.children.Child`."""

    line: str

    @property
    def status(self) -> int | None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def last_words(self) -> str: ...


Start = Callable[[Planned, bool], Process]
"""Starts a run, or goes on with it if the second argument is true."""


class _Running(NamedTuple):
    run: Planned
    process: Process
    began: float


class Drive:
    """The loop of ``study.py``. ``shows`` is called now and then, with what there is to see on a terminal."""

    def __init__(
        self, board: Board, journal: Journal, start: Start, jobs: int, shows: Callable[[str], None] = lambda line: None
    ) -> None:
        self.board, self.journal, self.start, self.jobs, self.shows = board, journal, start, jobs, shows
        self._running: list[_Running] = []
        self._stopping = False
        self._looked = -LOOK

    def run(self) -> None:
        """Go on to the end. On Ctrl-C, SIGTERM or SIGHUP the runs are asked to save and end, and KeyboardInterrupt is
        raised when they have; with a second one at once, with the runs killed.
        """
        with StopSignal(lambda: f"{len(self._running)} run(s)") as stop:
            try:
                while True:
                    self._collect()
                    if stop.received and not self._stopping:
                        self._stopping = True
                        for one in self._running:
                            one.process.stop()
                    if not self._stopping:
                        self._look()
                        self._start()
                    if not self._running and (self._stopping or not self.board.of("in use")):
                        break
                    time.sleep(POLL)
            except BaseException:
                for one in self._running:
                    one.process.kill()
                raise
        stop.check()

    def _collect(self) -> None:
        for one in self._running[:]:
            status = one.process.status
            if status is None:
                continue
            self._running.remove(one)
            seconds = self.journal.worked(one.run, time.monotonic() - one.began)
            if status == 0:
                self._take(one, seconds)
            elif status == STOPPED and self._stopping:
                self.board.set(one.run, "waiting", "stopped; goes on from its checkpoint")
            else:
                self._failed(one.run, f"{_ended(status)}: {one.process.last_words()}")

    def _take(self, one: _Running, seconds: float) -> None:
        places = self.board.places
        try:
            run_dir, log = places.run(one.run), places.log(one.run)
            record = records.take(one.run, run_dir, log, one.process.line, seconds)
            estimate = self.journal.estimates.get(one.run.name)
            if estimate is not None:
                record.facts["estimated_seconds"] = estimate
            records.write(places.results, record)
        except (UserError, OSError, ValueError, KeyError) as error:
            self._failed(one.run, str(error))
            return
        self.board.add(record)

    def _failed(self, run: Planned, why: str) -> None:
        self.board.set(run, "failed", f"{why} (log: {self.board.places.log(run)})")
        for other in self.board.of("waiting"):
            if other.needs == run.name:
                self.board.set(other, "blocked", f"{run.name} failed")

    def _look(self) -> None:
        """Which runs other processes have: those of a study that was killed may still be saving."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for run in self.board.of("waiting", "in use"):
            if in_use(self.board.places.run(run)):
                self.board.set(run, "in use", "another process is at work in its folder; waiting for it")
            elif self.board.states[run.name] == "in use":
                self.board.set(run, "waiting")
        running = [f"{one.run.name} {self.board.detail(one.run)}" for one in self._running]
        self.shows("; ".join([self.board.counts(), *running]))

    def _start(self) -> None:
        for run in self.board.of("waiting"):
            if len(self._running) + len(self.board.of("in use")) >= self.jobs:
                return
            if not self._ready(run):
                continue
            resume = run.kind != "skills" and (self.board.places.run(run) / "config.yaml").exists()
            self.journal.started(run)
            self._running.append(_Running(run, self.start(run, resume), time.monotonic()))
            self.board.set(run, "running", "goes on from its checkpoint" if resume else "")
            self.board.notes[run.name] = ""

    def _ready(self, run: Planned) -> bool:
        if run.needs is None:
            return True
        state = self.board.states.get(run.needs)
        if state in ("failed", "blocked"):
            self.board.set(run, "blocked", f"{run.needs} failed")
        elif state in ("done", None):
            snapshot = self.board.places.snapshot(run)
            if snapshot.is_file():
                return True
            self.board.set(run, "blocked", f"{snapshot} is not there")
        return False


def _ended(status: int) -> str:
    if status == STOPPED:
        return "a signal has stopped it"
    return f"it was killed by signal {-status}" if status < 0 else f"exit status {status}"
