"""The off-policy run: collect, learn from the replay, evaluate; all scripts with environments and a replay make one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.agent import Agent, Mode
from envs.workers import WorkerFailure
from replay.damage import DamagedReplay
from replay.files import DiskFull
from training import checkpoint
from training.camera import Camera
from training.clock import Clock
from training.collector import Collector
from training.episode_log import EpisodeLog
from training.evaluators import Evaluator, Stage
from training.outlook import Outlook
from training.parts import REPORT, Parts
from training.run import CHECKPOINT, GaveUp, Origin, Run
from training.settings import OffPolicyKeys
from training.shared_learner import build_learner
from training.work import Kind
from utils.config import resume_words
from utils.errors import UserError
from utils.logger import Logger
from utils.schedule import crossed, times_due
from utils.seeding import derive, own_randomness
from utils.video import upscale


class OffPolicyRun(Run):
    """Steps are agent steps over all environments; one step is ``action_repeat`` frames.

    The order inside an iteration is that of the published programs: update if due, act, step, store, log finished
    episodes, numbered snapshot, evaluation, checkpoint. With ``collect.async`` it is act, update if due while the
    environments step, store, and the rest as before: actions come from weights that lack the updates of one step. Both
    are deterministic.
    """

    settings: OffPolicyKeys
    agent: Agent

    def __init__(
        self,
        settings: OffPolicyKeys,
        run_dir: Path,
        parts: Parts,
        clock: Clock,
        logger: Logger,
        origin: Origin,
        evaluator: Evaluator,
        episode_log: EpisodeLog,
    ) -> None:
        learner = build_learner(settings, parts.agent, parts.replay, parts.spec, origin.phase)
        super().__init__(settings, run_dir, parts.agent, learner, clock, logger, origin)
        self.notes += [*parts.notes, *self._unreached_snapshots()]
        self.final: Path | None = None
        """Where the last snapshot goes, if one is wanted."""
        self.schedule = settings.schedule
        self.replay, self.eval_env = parts.replay, parts.eval_env
        self.collector = Collector(parts.envs, parts.agent, parts.replay, settings.action_repeat)
        self.evaluator, self.episode_log = evaluator, episode_log
        self.counters.evaluation_due = self.schedule.evaluate_every is not None
        self.stage = Stage(
            agent=parts.agent,
            env=parts.eval_env,
            seed=settings.seed,
            logger=logger,
            counters=self.counters,
            clock=clock,
            stopped=lambda: self.stop.received,
            begins=self.work.at,
            film=self.video if settings.save_video and parts.visible else None,
            picture=None if settings.obs_type == "pixels" else Camera(parts.eval_env, logger.say),
        )
        self.outlook = Outlook(settings, origin.phase, self.stage, self.replay, self.work)

    def run(self) -> None:
        """See :meth:`Run.run`. Raises :class:`UserError` that says how to go on when an environment in a process of its
        own fails, or the disk has no space for more records.
        """
        try:
            super().run()
        except (WorkerFailure, DiskFull) as failure:
            there = (self.run_dir / CHECKPOINT).exists()
            stands = "The last checkpoint stands" if there else "There is no checkpoint yet"
            raise UserError(f"{failure} {stands}; go on with {self.go_on}") from failure

    @property
    def go_on(self) -> str:
        return resume_words(self.run_dir, self.settings.plain())

    def describe(self) -> list[str]:
        return [self.replay.describe()]

    def begin(self) -> None:
        self.evaluate_if_due()

    def _unreached_snapshots(self) -> list[str]:
        end = self.clock.last_frame
        late = [mark for mark in self.settings.snapshots if mark > end]
        ends = f"{self.clock.length} ends at frame {end}, before snapshots={late}; these are not written"
        return [ends] if late else []

    def advise(self, smaller: str | None) -> None:
        self.outlook.smaller = smaller

    def finish(self) -> None:
        """Write the last snapshot, unless it is there already; one that a shorter run has left is replaced.

        What cannot be read is kept under another name.
        """
        if self.final is None:
            return
        try:
            written = checkpoint.load(self.final, "snapshot")["step"]
        except UserError:
            written = None
        if written != self.step:
            self.save_snapshot(self.final)

    def look_ahead(self) -> None:
        self.outlook.look()

    def time_left(self) -> str:
        return self.outlook.words()

    def iterate(self) -> None:
        """One step of every environment and the updates that go with it."""
        before = self.step
        after = before + self.settings.num_envs
        gave_up = None
        if not self.settings.collect.overlap:
            if self._learn(before, after):
                return
            self._adapt()
            with self.work.piece(self._kind()):
                episodes = self.collector.step(self._mode())
        else:
            self._adapt()
            with self.work.piece(self._kind()):
                self.collector.begin_step(self._mode())
                try:
                    self._learn_meanwhile(before, after)
                except GaveUp as error:
                    gave_up = error  # not before the step is finished: a checkpoint is of whole steps
                episodes = self.collector.finish_step()
        self.clock.step = after
        for episode in episodes:
            self.counters.episode += 1
            self.episode_log.add(self.stage, self.replay, episode)
        repeat = self.clock.frames
        frames = (before * repeat, after * repeat)
        for mark in crossed(*frames, self.settings.snapshots):
            with self.work.piece("snapshot"):
                self.save_snapshot(checkpoint.snapshot_path(self.snapshot_dir(), mark))
                self.evaluator.show(self.stage)
        if self.schedule.evaluate_every is not None and times_due(*frames, self.schedule.evaluate_every):
            self.counters.evaluation_due = True
        if gave_up is not None:
            self.save_checkpoint()
            raise gave_up
        self.evaluate_if_due()
        self.logger.tick(self.frame)
        if self.replay.checkpoint_due or self.checkpoint_due(bool(episodes)):
            self.save_checkpoint()

    # ---- learning

    @property
    def can_learn(self) -> bool:
        """Whether the replay has a finished episode."""
        return self.replay.ready

    @property
    def step_in_flight(self) -> bool:
        return self.collector.in_flight

    def _learn(self, before: int, after: int) -> bool:
        """The updates that are due in the agent steps from ``before`` to ``after``, looked at.

        True when the run is to stop before all are made.
        """
        seed_steps, repeat = self.schedule.seed_steps, self.clock.frames
        if after <= seed_steps:
            return False
        # the published loops update before the step whose number is a multiple of the period
        due = times_due(max(before, seed_steps) - 1, after - 1, self.schedule.update_every)
        stops = self.update(self.schedule.updates_at_once * due)
        if not stops:
            self._watch(before * repeat - 1, after * repeat - 1)
        return stops

    def _learn_meanwhile(self, before: int, after: int) -> None:
        """The same while the environments step; logs by how many updates their actions are late."""
        acted_at = self.updates
        self._learn(before, after)
        if self.updates:
            self.logger.log("policy_lag", self.updates - acted_at, "train")

    def _adapt(self) -> None:
        if self.replay.ready:
            note = self.agent.adapt(self.frame, self.replay)
            if note:
                self.outlook.left.changed()
                self.logger.say(note)

    def _kind(self) -> Kind:
        seeding = self.step < self.schedule.seed_steps and self.schedule.random_seed_actions
        return "random step" if seeding else "step"

    def _mode(self) -> Mode:
        return "random" if self._kind() == "random step" else self.agent.collects

    def _watch(self, before: int, after: int) -> None:
        """Scalars of the newest update and videos, where a multiple of their period lies in ``(before, after]``."""
        if self.updates == 0:
            return
        if times_due(before, after, self.schedule.log_every):
            self.logger.write_scalars(self.frame, self.newest, "train")
        if times_due(before, after, self.schedule.report_every):
            self._report()

    @torch.no_grad()
    def _report(self) -> None:
        """Videos of what the model has learned; draws nothing from the run's own random streams."""
        sampler = self.replay.sampler.state
        with own_randomness(self.device, derive(self.settings.seed, REPORT)):
            videos = self.agent.report(self.replay.sample())
        self.replay.sampler.state = sampler
        for name, video in videos.items():
            rows = (video.float().clamp(0, 1) * 255).byte().cpu().permute(1, 3, 0, 4, 2)
            tiled = rows.flatten(2, 3).contiguous().numpy()
            self.video(name, upscale(tiled, 2), "train")

    # ---- evaluation

    def evaluate_if_due(self) -> None:
        """One evaluation, if one is due.

        One that a stop signal cuts short counts as not begun: a resumed run makes it first.
        """
        if not self.counters.evaluation_due:
            return
        before = self.eval_env.get_state()  # type: ignore[attr-defined]
        with self.work.piece("evaluation"):
            finished = self.evaluator.evaluate(self.stage)
        if not finished:
            self.eval_env.set_state(before)  # type: ignore[attr-defined]
            return
        self.counters.evaluation_due = False
        self.counters.evaluations += 1
        self.logger.log("episode", self.counters.episode, "eval")
        self.logger.dump(self.step, "eval")
        if self.evaluator.keeps_models:
            self.save_snapshot(self.run_dir / "models" / f"model_{self.step}.pt")

    # ---- saving

    def save_snapshot(self, path: Path) -> None:
        """Write what fine-tuning needs to ``path``."""
        self.publish(path, self.agent.snapshot_modules())
        self.files.append(path)
        self.logger.say(f"snapshot: {path}")

    def state(self) -> dict[str, Any]:
        self.replay.flush()
        self.episode_log.flush()
        return {
            "replay": self.replay.state_dict(),
            "collector": self.collector.state_dict(),
            "eval_env": checkpoint.arrays_to_tensors(self.eval_env.get_state()),  # type: ignore[attr-defined]
            "own": self.episode_log.state_dict(),
        }

    def saved(self, state: Mapping[str, Any]) -> None:
        self.replay.release(state["replay"])

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.collector.load_state_dict(state["collector"])
        self.eval_env.set_state(checkpoint.tensors_to_arrays(state["eval_env"]))  # type: ignore[attr-defined]

    def load_files(self, state: Mapping[str, Any] | None) -> None:
        if state is None:
            self.replay.clear()
            self.episode_log.load_state_dict(None)
            return
        self._load_replay(state["replay"])
        self.episode_log.load_state_dict(state.get("own", {}))

    def _load_replay(self, state: Mapping[str, Any]) -> None:
        """Raises :class:`UserError` that says how a run with a damaged replay can go on."""
        verify = self.settings.replay.verify
        if verify is True and self.clock.over:
            verify = False  # nothing will be drawn from it
        try:
            self.replay.load_state_dict(state, verify=verify, say=self.logger.say)
        except DamagedReplay as damage:
            raw = f", or with the records as they are: {self.go_on} replay.verify=false" if damage.usable else ""
            raise UserError(
                f"{damage} Nothing was touched, and {CHECKPOINT} is whole. Put the files back from a copy and resume, "
                f"or go on without the damaged episodes: {self.go_on} replay.verify=drop{raw}"
            ) from damage
