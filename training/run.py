"""What all runs share: updates that can be taken back, logs, videos, snapshots, checkpoints, stop signals."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from agents.agent import Phase, Updated
from training import checkpoint
from training.clock import Clock
from training.interrupt import StopSignal
from training.learner import NumericalFault
from training.lost import note_checkpoint
from training.settings import RunKeys
from training.status import awaited, doing
from training.work import Work
from utils.advice import override
from utils.durations import about
from utils.errors import UserError
from utils.graphs import EAGER_CALLS
from utils.logger import Logger, Prefix
from utils.seeding import random_state, set_random_state

CHECKPOINT = "checkpoint.pt"

MOST_SKIPS = 100
"""Updates left out in a row, at most (``on_nan=skip``): an agent that cannot learn any more does not go on for days."""


class GaveUp(UserError):
    """A loss that is no finite number, and ``on_nan`` does not say to go on."""


class Trained(Protocol):
    """What a run asks of its agent, whatever kind of run it is."""

    name: str
    device: torch.device

    def training_state(self) -> dict[str, Any]:
        """Everything a resumed run needs: weights, optimisers, normalisers, counters."""
        ...

    def load_training_state(self, state: Mapping[str, Any]) -> None: ...


class Teaches(Protocol):
    """Makes updates that can be taken back."""

    def update(self) -> Updated:
        """One update. Raises :class:`NumericalFault`, all taken back then."""
        ...

    def skip(self) -> None:
        """Move on from what led to a fault."""
        ...

    def close(self) -> None:
        """No more updates will be asked for."""
        ...


@dataclass
class Counters:
    """What a run counts besides its steps."""

    step: int = 0
    """The clock's, in checkpoints."""
    episode: int = 0
    """Finished training episodes."""
    updates: int = 0
    updates_owed: int = 0
    """Updates that are due and wait for something to learn from."""
    skipped: int = 0
    """Updates that were taken back for a loss that is no finite number (``on_nan=skip``)."""
    evaluations: int = 0
    evaluation_due: bool = False


@dataclass(frozen=True)
class Origin:
    """What snapshots and checkpoints say about where they come from."""

    phase: Phase
    """What the agent does."""
    config: dict[str, Any]
    """The settings in plain form, the script that was started under ``phase``."""
    spec: dict[str, Any]
    """Observations and actions: see :func:`training.parts.plain_spec`."""
    lineage: list[dict[str, Any]]
    """The snapshot the agent started from, and its ancestors."""
    run_id: str | None = None
    """What no two runs share; runs of earlier versions have none."""


class Run(ABC):
    """One run in one folder; :meth:`run` takes it from where it is to its end.

    A kind of run says what a step is (:meth:`iterate`), what it waits for before it learns (:attr:`can_learn`) and what
    else a checkpoint holds (:meth:`state`, :meth:`load_state` and :meth:`load_files`).
    """

    def __init__(
        self,
        settings: RunKeys,
        run_dir: Path,
        agent: Trained,
        learner: Teaches,
        clock: Clock,
        logger: Logger,
        origin: Origin,
    ) -> None:
        self.settings, self.run_dir, self.agent, self.learner = settings, run_dir, agent, learner
        self.clock, self.logger, self.origin = clock, logger, origin
        self.device = agent.device
        self.lineage = origin.lineage
        self.counters = Counters()
        self.work = Work({"update": EAGER_CALLS + 1} if settings.compile != "off" else None)
        self.stop = StopSignal.standing(lambda: awaited(self.work, self.step_in_flight))
        self.notes: list[str] = []
        """What the user should know."""
        self.files: list[Path] = []
        """Snapshots and videos written since the start of this process."""
        self._saved_at = 0.0
        self._noted = False  # that there is a checkpoint
        self._faults_in_a_row = 0
        self.newest: dict[str, torch.Tensor] = {}  # losses and metrics of the last update

    @property
    def step(self) -> int:
        """Steps so far."""
        return self.clock.step

    @property
    def frame(self) -> int:
        """Frames so far."""
        return self.clock.frame

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.counters.updates

    @property
    def go_on(self) -> str:
        """The overrides with which this run is resumed."""
        return override("resume", self.run_dir)

    # ---- the run

    def run(self) -> None:
        """Go on to the end; the last thing written is a checkpoint.

        On Ctrl-C, SIGTERM or SIGHUP the step or update in progress is finished, a checkpoint written, and
        KeyboardInterrupt raised.
        """
        self._saved_at = self.logger.elapsed
        self.logger.follow(self.status)
        with self.stop:
            self.logger.tick(self.frame)
            self.begin()
            while not self.clock.over and not self.stop.received:
                with self.work.round():
                    self.iterate()
                self.look_ahead()
            self.save_checkpoint()
        self.stop.check()
        self.finish()

    def close(self) -> None:
        """End what this run has started."""
        self.learner.close()

    def describe(self) -> list[str]:
        """Lines that introduce the run on the console."""
        return []

    def advise(self, smaller: str | None) -> None:  # noqa: B027
        """Take the overrides of a ``smaller`` run, for one that would take days."""

    def begin(self) -> None:  # noqa: B027
        """What comes before the first step of this process."""

    @abstractmethod
    def iterate(self) -> None:
        """One step and the updates that go with it."""

    def look_ahead(self) -> None:  # noqa: B027
        """Between two steps or updates: find out how long the run will take. What it does changes no number of it."""

    def status(self) -> str:
        """What the console shows behind the progress bar; asked from another thread, too."""
        left = "stopping" if self.stop.received else self.time_left()
        return ", ".join(filter(None, (left, doing(self.work)))) or "time left not known yet"

    def time_left(self) -> str:
        """In words, empty where nothing is known."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"{about(seconds)} left"

    def seconds_left(self) -> float | None:
        """By the paces so far; None while there are none."""
        return None

    def finish(self) -> None:  # noqa: B027
        """What comes after the last step, also of a run that was over already."""

    # ---- learning

    @property
    @abstractmethod
    def can_learn(self) -> bool:
        """Whether there is something to learn from."""

    @property
    def step_in_flight(self) -> bool:
        """Whether a step has begun that is not finished: no time for a checkpoint."""
        return False

    def update(self, due: int) -> bool:
        """``due`` more updates and those still owed; they wait until there is something to learn from.

        True when the run is to stop before all are made: a resumed run begins this step again, with what is left of
        them. With a step in flight they are all made.
        """
        self.counters.updates_owed += due
        owed = self.counters.updates_owed
        while self.counters.updates_owed > 0 and self.can_learn:
            if self.stop.received and not self.step_in_flight:
                self.counters.updates_owed -= due
                return True
            try:
                with self.work.piece("update", owed - self.counters.updates_owed + 1, owed):
                    self.newest = self.learner.update().logged
            except NumericalFault as fault:
                self._skip(fault, due)
                continue
            self._faults_in_a_row = 0
            self.counters.updates += 1
            self.counters.updates_owed -= 1
            self.logger.log_metrics(self.newest, "train")
            if self.counters.updates_owed > 0:
                self.look_ahead()
                self.logger.tick(self.frame)
        return False

    def _skip(self, fault: NumericalFault, due: int) -> None:
        """Go on without an update that was taken back, if the user wants that.

        Raises :class:`GaveUp` otherwise, with a checkpoint of the state before that update; with a step in flight,
        :meth:`iterate` writes it after that step.
        """
        self._faults_in_a_row += 1
        gives_up = self._faults_in_a_row >= MOST_SKIPS
        where = f"{fault} in update {self.updates} ({self.clock.counted} {self.frame})"
        if self.settings.on_nan == "stop" or gives_up:
            if not self.step_in_flight:
                self.counters.updates_owed -= due  # a resumed run begins this step again, and adds them again
                self.save_checkpoint()
            raise GaveUp(
                f"{where}. {self.run_dir / CHECKPOINT} holds the state before this update. Start again with lower "
                f"learning rates, or go on without such updates: {self.go_on} on_nan=skip"
                + (f" (that was tried: {MOST_SKIPS} in a row)." if gives_up else ".")
            )
        self.learner.skip()
        self.counters.updates_owed -= 1
        self.counters.skipped += 1
        self.logger.say(f"note: {where}; taken back and left out (on_nan=skip), {self.counters.skipped} so far")

    # ---- what is written

    def video(self, name: str, frames: np.ndarray, prefix: Prefix, fps: float = 15, path: Path | None = None) -> None:
        """Save a video, at ``path`` in the run folder if that is given; a run does not end because one cannot be
        written.
        """
        saved = self.logger.log_video(self.frame, name, frames, prefix, fps, path and self.run_dir / path)
        if saved is not None:
            self.files.append(saved)

    def _header(self) -> dict[str, Any]:
        """What snapshots and checkpoints say about the run that wrote them."""
        origin = {"phase": self.origin.phase, "config": self.origin.config, "lineage": self.lineage}
        return {"run": str(self.run_dir), "run_id": self.origin.run_id, "frame": self.frame, **origin}

    def snapshot_dir(self) -> Path:
        """Where numbered snapshots go."""
        chosen = self.settings.snapshot_dir
        return self.run_dir if chosen is None else Path(chosen).absolute()

    def publish(self, path: Path, modules: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Write state dicts by name as a snapshot at ``path``; what is there of another run is kept."""
        content = {
            "agent": self.agent.name,
            **self._header(),
            "spec": self.origin.spec,
            "modules": modules,
            "step": self.step,
            "episode": self.counters.episode,
            "updates": self.updates,
        }
        kept = checkpoint.publish(path, content)
        if kept is not None:
            self.logger.say(f"snapshot: what was at {path} is not of this run; kept as {kept.name}")

    def checkpoint_due(self, at_every: bool) -> bool:
        """Whether it is time for a checkpoint; ``checkpoint_every_minutes=0`` makes one wherever ``at_every`` holds."""
        minutes = self.settings.checkpoint_every_minutes
        return at_every if minutes == 0 else self.logger.elapsed - self._saved_at >= 60 * minutes

    def state(self) -> dict[str, Any]:
        """What a kind of run has to remember besides."""
        return {}

    def saved(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """A checkpoint with this :meth:`state` is on the disk: what only older ones need may go."""

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Back to what :meth:`state` returned, as far as that is in memory."""

    def load_files(self, state: Mapping[str, Any] | None) -> None:  # noqa: B027
        """Take the files back to what :meth:`state` returned; None: to the beginning of the run."""

    def save_checkpoint(self) -> None:
        """Write ``checkpoint.pt``, from which :meth:`load_checkpoint` continues exactly."""
        with self.work.piece("checkpoint"):
            self._write_checkpoint()
        self._saved_at = self.logger.elapsed

    def _write_checkpoint(self) -> None:
        self.counters.step = self.step
        state = self.state()
        content = {
            **self._header(),
            "agent": self.agent.training_state(),
            **state,
            "logger": self.logger.state_dict(),
            "random": random_state(self.device),
            "counters": asdict(self.counters),
            "device": str(self.device),
        }
        checkpoint.save(self.run_dir / CHECKPOINT, "checkpoint", content)
        self._noted = self._noted or note_checkpoint(self.run_dir)
        self.saved(state)

    def load_checkpoint(self, content: Mapping[str, Any] | None) -> None:
        """Put everything back to where the checkpoint with this ``content`` was written; without one, start over.

        Raises :class:`UserError` if a part of the run does not take its share; no file was touched then.
        """
        if content is None:
            self.logger.say(f"resume: {self.run_dir} has no {CHECKPOINT}; starting this run from its beginning")
            self.logger.truncate(-1)
            self.load_files(None)
            return
        given = content["config"]
        how = {
            "device": content["device"],
            "compile": given.get("compile", "off"),
            "num_gpus": given.get("num_gpus", 1),
        }
        then, now = content["versions"] | how, checkpoint.versions()
        ours = {"device": str(self.device), "compile": self.settings.compile, "num_gpus": self.settings.num_gpus}
        for name, value in (now | ours).items():
            if then.get(name) != value:
                self.logger.say(f"note: {name} was {then.get(name)}, is {value}; the run goes on, but not bit for bit")
        vars(self.counters).update(content["counters"])
        self.clock.step = self.counters.step
        self.lineage = content.get("lineage", [])
        try:
            self.agent.load_training_state(content["agent"])
            self.load_state(content)
            set_random_state(content["random"], self.device)
        except UserError:
            raise
        except Exception as error:  # whatever agents and environments raise for what is not their own
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise UserError(
                f"{self.run_dir / CHECKPOINT} cannot be gone on from ({reason}). Nothing was changed. Put the run's "
                "own one back."
            ) from error
        self.load_files(content)
        self.logger.truncate(self.frame)
        self.logger.load_state_dict(content["logger"])
        beyond = self.clock.step > self.clock.steps
        end = f"which is beyond {self.clock.length}" if beyond else f"of {self.clock.last_frame}"
        self.logger.say(f"resume: continuing at {self.clock.counted} {self.frame} {end}")
