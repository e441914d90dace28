"""The run on data that others have collected: nothing but updates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from agents.agent import Agent
from training import checkpoint
from training.clock import Clock
from training.offline_parts import OfflineParts
from training.offline_settings import OfflineKeys
from training.outlook import LONG, WORTH_SAYING, rounded
from training.run import Origin, Run
from training.shared_learner import build_learner
from utils.durations import DAY, about
from utils.errors import UserError
from utils.logger import Logger
from utils.schedule import crossed, times_due

ROUNDS = 20
"""Updates before a word on the time."""


class OfflineRun(Run):
    """Steps are updates; one that was left out (``on_nan=skip``) is none.

    An iteration: an update, a row of the log where one is due, a numbered snapshot, a checkpoint. There are no
    environments, so nothing is evaluated or filmed.
    """

    settings: OfflineKeys
    agent: Agent
    loop: ClassVar[str] = "offline"

    def __init__(
        self, settings: OfflineKeys, run_dir: Path, parts: OfflineParts, clock: Clock, logger: Logger, origin: Origin
    ) -> None:
        learner = build_learner(settings, parts.agent, parts.replay, parts.spec, origin.phase)
        super().__init__(settings, run_dir, parts.agent, learner, clock, logger, origin)
        self.replay, self.data = parts.replay, parts.data
        self.notes += parts.notes
        if late := [mark for mark in settings.snapshots if mark > clock.steps]:
            self.notes.append(f"{clock.length} ends before snapshots={late}; these are not written")
        self._smaller: str | None = None  # overrides of a smaller run
        self._told = False  # how long it will take

    def describe(self) -> list[str]:
        rewards = f"rewards of {self.settings.relabel_task}" if self.settings.relabel_task else "its own rewards"
        return [
            f"data: {self.replay.num_episodes:,} episodes, {self.replay.steps:,} transitions of {self.data.source}, "
            f"with {rewards}; in {self.replay.directory}"
        ]

    @property
    def can_learn(self) -> bool:
        """Always: there are data."""
        return True

    def iterate(self) -> None:
        before = self.step
        if note := self.agent.adapt(before, self.replay):
            self.logger.say(note)
        if self.update(1):
            return
        self.clock.step = self.updates
        logs = times_due(before, self.step, self.settings.log_every_updates) > 0
        if logs:
            self.logger.dump(self.step, "train")
        for mark in crossed(before, self.step, self.settings.snapshots):
            with self.work.piece("snapshot"):
                self.save_snapshot(checkpoint.snapshot_path(self.snapshot_dir(), mark))
        self.logger.tick(self.frame)
        if self.checkpoint_due(logs):
            self.save_checkpoint()

    # ---- how long it takes

    def advise(self, smaller: str | None) -> None:
        self._smaller = smaller

    def look_ahead(self) -> None:
        """After the first updates, a word on how long all of them will take."""
        seconds = self.seconds_left()
        if self._told or self.work.rounds < ROUNDS or seconds is None:
            return
        self._told = True
        if seconds < WORTH_SAYING:
            return
        pace = self._pace()
        assert pace is not None
        self.logger.say(f"time: about {about(seconds)}: {self.clock.steps - self.step:,} updates of {about(pace)}")
        if seconds >= LONG:
            if self._smaller is not None:
                self.logger.say(f"note: smaller networks take less on this machine: {self._smaller}")
            self.logger.say(f"note: a day is enough for {self.clock.key}={rounded(self.step + int(DAY / pace), 1)}")

    def seconds_left(self) -> float | None:
        pace = self._pace()
        return None if pace is None else (self.clock.steps - self.step) * pace

    def _pace(self) -> float | None:
        """Seconds of an iteration."""
        update = self.work.paces["update"].seconds
        return None if update is None else update + self.work.rest

    # ---- saving

    def save_snapshot(self, path: Path) -> None:
        """Write what fine-tuning needs to ``path``."""
        self.publish(path, self.agent.snapshot_modules())
        self.files.append(path)
        self.logger.say(f"snapshot: {path}")

    def _header(self) -> dict[str, Any]:
        return {**super()._header(), "loop": self.loop}

    def state(self) -> dict[str, Any]:
        return {"replay": self.replay.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises :class:`UserError` where the data are others than the run began with."""
        then, now = state["replay"], self.replay.state_dict()
        if not _same(then, now):
            raise UserError(
                f"the data in {self.data.source} have changed since this run began: it had {_counts(then)}, and there "
                f"are {_counts(now)} now, or others. Nothing was changed. Put the data back, or begin a new run with "
                "them."
            )
        self.replay.sampler.state = then["sampler"]


def _same(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two states of a replay are of the same records: of their episodes, and of the checksums of all bytes."""
    episodes = torch.equal(then["episodes"], now["episodes"])
    return episodes and all(then.get(key) == now[key] for key in ("layout", "streams"))


def _counts(state: Mapping[str, Any]) -> str:
    return f"{len(state['episodes']):,} episodes with {state['steps']:,} transitions"
