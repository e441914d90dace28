"""The off-policy run: collect, update, log, save; pre-training and fine-tuning differ in settings only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from agents.agent import Agent, Mode
from envs.workers import WorkerFailure
from training import checkpoint
from training.collector import Collector, Episode
from training.evaluation import evaluate, skill_gallery
from training.interrupt import StopSignal
from training.learner import Learner, NumericalFault
from training.parts import EVALUATION, GALLERY, REPORT, Parts
from utils.errors import UserError
from utils.log_layout import DREAMER
from utils.logger import Logger, Prefix
from utils.schedule import crossed, times_due
from utils.seeding import derive, own_randomness, random_state, set_random_state
from utils.video import upscale

CHECKPOINT = "checkpoint.pt"
FINETUNED = "finetuned_snapshot.pt"

MOST_SKIPS = 100
"""Updates left out in a row, at most (``on_nan=skip``): an agent that cannot learn any more does not go on for days."""

Phase = Literal["pretrain", "finetune", "drq"]


class GaveUp(UserError):
    """A loss that is no finite number, and ``on_nan`` does not say to go on."""


@dataclass
class Counters:
    """How far a run is."""

    step: int = 0
    """Agent steps over all environments."""
    episode: int = 0
    """Finished training episodes."""
    updates: int = 0
    updates_owed: int = 0
    """Updates that are due and wait for the first finished episode."""
    skipped: int = 0
    """Updates that were taken back for a loss that is no finite number (``on_nan=skip``)."""
    evaluations: int = 0
    evaluation_due: bool = False


class OffPolicyRun:
    """One run in one folder; :meth:`run` takes it from where it is to its end.

    Steps are agent steps over all environments; one step is ``action_repeat`` frames. The order inside an iteration
    is the published one (card 7.2): update if due, act, step, store, log finished episodes, numbered
    snapshot, evaluation, checkpoint. With ``collect.async`` it is act, update if due while the environments step,
    store, and the rest as before: actions come from weights that lack the updates of one step. Both are deterministic.
    """

    log_layout = DREAMER
    length_key = "num_train_frames"
    """What a user raises for a longer run."""
    updates_at_once = 1
    """Updates whenever one is due."""

    def __init__(self, config: Mapping[str, Any], run_dir: Path, phase: Phase, parts: Parts, logger: Logger) -> None:
        self.config, self.run_dir, self.phase = config, run_dir, phase
        self.agent: Agent = parts.agent
        self.replay, self.eval_env, self.device = parts.replay, parts.eval_env, parts.device
        self.lineage, self.spec = parts.lineage, parts.spec
        self.logger = logger
        self.repeat: int = config["action_repeat"]
        self.learner = Learner(parts.agent, parts.replay)
        self.collector = Collector(parts.envs, parts.agent, parts.replay, self.repeat)
        self.total_steps = -(-config["num_train_frames"] // self.repeat)
        self.seed_steps = config["num_seed_frames"] // self.repeat
        self.counters = Counters(evaluation_due=config["evaluate"])
        self.stop = StopSignal()
        self.notes = [*parts.notes, *self._unreached_snapshots()]
        self.files: list[Path] = []
        """Snapshots and videos written since the start of this process."""
        self._saved_at = 0.0
        self._faults_in_a_row = 0
        self._metrics: dict[str, torch.Tensor] = {}

    @property
    def step(self) -> int:
        """Agent steps so far."""
        return self.counters.step

    @property
    def frame(self) -> int:
        """Frames so far."""
        return self.counters.step * self.repeat

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.counters.updates

    def _unreached_snapshots(self) -> list[str]:
        frames = self.config["num_train_frames"]
        late = [mark for mark in self.config["snapshots"] if mark > frames]
        return [f"num_train_frames={frames} ends before snapshots={late}; these are not written"] if late else []

    def run(self) -> None:
        """Go on until ``num_train_frames``; the last thing written is a checkpoint.

        On Ctrl-C or SIGTERM the step in progress is finished, a checkpoint written and KeyboardInterrupt raised.
        Raises :class:`UserError` when an environment in a process of its own fails.
        """
        self._saved_at = self.logger.elapsed
        with self.stop:
            try:
                self.evaluate_if_due()
                while self.step < self.total_steps and not self.stop.received:
                    self.iterate()
                self.save_checkpoint()
            except WorkerFailure as failure:
                there = (self.run_dir / CHECKPOINT).exists()
                stands = "The last checkpoint stands" if there else "There is no checkpoint yet"
                raise UserError(f"{failure} {stands}; go on with resume={self.run_dir}") from failure
        if self.stop.received:
            raise KeyboardInterrupt
        self.finish()

    def finish(self) -> None:
        """Write what a finished fine-tuning leaves."""
        if self.phase == "finetune" and self.config["save_ft_model"]:
            self._save_final(self.run_dir / FINETUNED)

    def _save_final(self, path: Path) -> None:
        """Write the last snapshot, unless it is there already; one that a shorter run has left is replaced."""
        if not path.exists() or checkpoint.load(path, "snapshot")["step"] != self.step:
            self.save_snapshot(path)

    def iterate(self) -> None:
        """One step of every environment and the updates that go with it."""
        before = self.step
        after = before + self.config["num_envs"]
        gave_up = None
        if not self.config["collect"]["async"]:
            self._learn(before, after)
            self._adapt()
            episodes = self.collector.step(self._mode())
        else:
            self._adapt()
            self.collector.begin_step(self._mode())
            try:
                self._learn_meanwhile(before, after)
            except GaveUp as error:
                gave_up = error  # not before the step is finished: a checkpoint is of whole steps
            episodes = self.collector.finish_step()
        self.counters.step = after
        for episode in episodes:
            self._log_episode(episode)
        frames = (before * self.repeat, after * self.repeat)
        for mark in crossed(*frames, self.config["snapshots"]):
            self.save_snapshot(checkpoint.snapshot_path(self._snapshot_dir(), mark))
            self._show_skills()
        if self.config["evaluate"] and times_due(*frames, self.config["eval_every_frames"]):
            self.counters.evaluation_due = True
        if gave_up is not None:
            self.save_checkpoint()
            raise gave_up
        self.evaluate_if_due()
        self.logger.tick(self.frame)
        if self.replay.checkpoint_due or self._checkpoint_due(bool(episodes)):
            self.save_checkpoint()

    def _learn(self, before: int, after: int) -> None:
        """The updates that are due in the agent steps from ``before`` to ``after``, looked at."""
        if after > self.seed_steps:
            # the published loop updates before the step whose number is a multiple of the period
            period = self.config["train_every_actions"] // self.repeat
            self.update(self.updates_at_once * times_due(max(before, self.seed_steps) - 1, after - 1, period))
            self._watch(before * self.repeat - 1, after * self.repeat - 1)

    def _learn_meanwhile(self, before: int, after: int) -> None:
        """The same while the environments step; logs by how many updates their actions are late."""
        acted_at = self.updates
        self._learn(before, after)
        if self.updates:
            self.logger.log("policy_lag", self.updates - acted_at, "train")

    def _adapt(self) -> None:
        if self.replay.ready:
            note = self.agent.adapt(self.frame, self.replay.sample)
            if note:
                self.logger.say(note)

    def _checkpoint_due(self, episode_ended: bool) -> bool:
        minutes = self.config["checkpoint_every_minutes"]
        return episode_ended if minutes == 0 else self.logger.elapsed - self._saved_at >= 60 * minutes

    def _mode(self) -> Mode:
        seeding = self.step < self.seed_steps and self.config["seed_policy"] == "random"
        return "random" if seeding else self.agent.collects

    def update(self, due: int) -> None:
        """``due`` more updates and those still owed; they wait until the replay has a finished episode."""
        self.counters.updates_owed += due
        while self.counters.updates_owed > 0 and self.replay.ready:
            try:
                self._metrics = self.learner.update().logged
            except NumericalFault as fault:
                self._skip(fault, due)
                continue
            self._faults_in_a_row = 0
            self.counters.updates += 1
            self.counters.updates_owed -= 1
            self.logger.log_metrics(self._metrics, "train")

    def _skip(self, fault: NumericalFault, due: int) -> None:
        """Go on without an update that was taken back, if the user wants that.

        Raises :class:`GaveUp` otherwise, with a checkpoint of the state before that update; with a step in flight,
        :meth:`iterate` writes it after that step.
        """
        self._faults_in_a_row += 1
        gives_up = self._faults_in_a_row >= MOST_SKIPS
        where = f"{fault} in update {self.updates} (frame {self.frame})"
        if self.config["on_nan"] == "stop" or gives_up:
            if not self.collector.in_flight:
                self.counters.updates_owed -= due  # a resumed run begins this step again, and adds them again
                self.save_checkpoint()
            raise GaveUp(
                f"{where}. {self.run_dir / CHECKPOINT} holds the state before this update. Start again with lower "
                f"learning rates, or go on without such updates: resume={self.run_dir} on_nan=skip"
                + (f" (that was tried: {MOST_SKIPS} in a row)." if gives_up else ".")
            )
        self.learner.skip()
        self.counters.updates_owed -= 1
        self.counters.skipped += 1
        self.logger.say(f"note: {where}; taken back and left out (on_nan=skip), {self.counters.skipped} so far")

    def _watch(self, before: int, after: int) -> None:
        """Scalars of the newest update and videos, where a multiple of their period lies in ``(before, after]``."""
        if self.updates == 0:
            return
        if times_due(before, after, self.config["log_every_frames"]):
            self.logger.write_scalars(self.frame, self._metrics, "train")
        if times_due(before, after, self.config["recon_every_frames"]):
            self._report()

    @torch.no_grad()
    def _report(self) -> None:
        """Videos of what the model has learned; draws nothing from the run's own random streams."""
        sampler = self.replay.sampler.state
        with own_randomness(self.device, derive(self.config["seed"], REPORT)):
            videos = self.agent.report(self.replay.sample())
        self.replay.sampler.state = sampler
        for name, video in videos.items():
            rows = (video.float().clamp(0, 1) * 255).byte().cpu().permute(1, 3, 0, 4, 2)
            tiled = rows.flatten(2, 3).contiguous().numpy()
            self._video(name, upscale(tiled, 2), "train")

    def evaluate_if_due(self) -> None:
        """``num_eval_episodes`` episodes with the policy's mean action: one row of ``eval.csv``.

        An evaluation that a stop signal cuts short counts as not begun: a resumed run makes it first.
        """
        if not self.counters.evaluation_due:
            return
        before = self.eval_env.unwrapped.get_state()  # type: ignore[attr-defined]
        result = evaluate(
            self.agent,
            self.eval_env,
            self.config["num_eval_episodes"],
            action_repeat=self.repeat,
            seed=derive(self.config["seed"], EVALUATION, self.counters.evaluations),
            should_stop=lambda: self.stop.received,
        )
        if result is None:
            self.eval_env.unwrapped.set_state(before)  # type: ignore[attr-defined]
            return
        self.counters.evaluation_due = False
        self.counters.evaluations += 1
        for reward, length in zip(result.returns, result.lengths, strict=True):
            self.logger.log("episode_reward", reward, "eval")
            self.logger.log("episode_length", length, "eval")
        self.logger.log("episode_reward_std", float(np.std(result.returns)), "eval")
        self.logger.log("episode", self.counters.episode, "eval")
        self.logger.dump(self.step, "eval")
        if self.config["save_video"]:
            self._video("episode", upscale(result.frames, 4), "eval", fps=25)

    def _show_skills(self) -> None:
        """A video grid of what the skills do; nothing for agents without."""
        if not self.agent.shown.dim or not self.config["save_video"]:
            return
        grid = skill_gallery(
            self.agent,
            self.eval_env,
            most=self.config["num_skill_videos"],
            steps=self.config["skill_video_steps"],
            seed=derive(self.config["seed"], GALLERY),
            should_stop=lambda: self.stop.received,
        )
        if grid is not None:
            self._video("skills", grid, "train", fps=25)

    def _video(self, name: str, frames: np.ndarray, prefix: Prefix, fps: float = 15, path: Path | None = None) -> None:
        """Save a video, at ``path`` in the run folder if that is given; a run does not end because one cannot be
        written.
        """
        path = path and self.run_dir / path
        try:
            self.files.append(self.logger.log_video(self.frame, name, frames, prefix, fps, path))
        except OSError as error:
            self.logger.say(f"note: the video {prefix}_{name} at frame {self.frame} could not be written ({error})")

    def _log_episode(self, episode: Episode) -> None:
        """One row and console line per training episode, from the first that ends after updates began."""
        self.counters.episode += 1
        if self.updates == 0:
            return
        self.logger.log("episode_reward", episode.reward, "train")
        self.logger.log("episode_length", episode.length, "train")
        self.logger.log("episode", self.counters.episode, "train")
        self.logger.log("buffer_size", self.replay.steps, "train")
        self.logger.dump(self.step, "train")

    # ---- saving

    def _snapshot_dir(self) -> Path:
        chosen = self.config["snapshot_dir"]
        return self.run_dir if chosen is None else Path(chosen).absolute()

    def _origin(self) -> dict[str, Any]:
        """What snapshots and checkpoints say about the run that wrote them."""
        return {"run": str(self.run_dir), "config": dict(self.config), "frame": self.frame, "lineage": self.lineage}

    def save_snapshot(self, path: Path) -> None:
        """Write what fine-tuning needs to ``path``."""
        content = {
            "agent": self.agent.name,
            **self._origin(),
            "spec": self.spec,
            "modules": self.agent.snapshot_modules(),
            "step": self.step,
            "episode": self.counters.episode,
            "updates": self.updates,
        }
        kept = checkpoint.keep_foreign(path, str(self.run_dir))
        if kept is not None:
            self.logger.say(f"snapshot: {path} was of another run; kept as {kept.name}")
        checkpoint.save(path, "snapshot", content)
        self.files.append(path)
        self.logger.say(f"snapshot: {path}")

    def save_checkpoint(self) -> None:
        """Write ``checkpoint.pt``, from which :meth:`load_checkpoint` continues exactly."""
        self.replay.flush()
        replay = self.replay.state_dict()
        content = {
            **self._origin(),
            "agent": self.agent.training_state(),
            "collector": self.collector.state_dict(),
            "eval_env": checkpoint.arrays_to_tensors(self.eval_env.unwrapped.get_state()),  # type: ignore[attr-defined]
            "replay": replay,
            "logger": self.logger.state_dict(),
            "random": random_state(self.device),
            "counters": asdict(self.counters),
            "own": self._own_state(),
            "device": str(self.device),
        }
        checkpoint.save(self.run_dir / CHECKPOINT, "checkpoint", content)
        self.replay.release(replay)
        self._saved_at = self.logger.elapsed

    def _own_state(self) -> dict[str, Any]:
        """What a kind of run has to remember besides."""
        return {}

    def _load_own_state(self, state: Mapping[str, Any] | None) -> None:
        """Back to what :meth:`_own_state` returned; None: to the beginning of the run."""

    def load_checkpoint(self) -> None:
        """Put everything back to where ``checkpoint.pt`` was written; without one, clear the replay and start over."""
        path = self.run_dir / CHECKPOINT
        if not path.is_file():
            self.logger.say(f"resume: {self.run_dir} has no {CHECKPOINT}; starting this run from its beginning")
            self.replay.clear()
            self.logger.truncate(-1)
            self._load_own_state(None)
            return
        content = checkpoint.load(path, "checkpoint")
        how = {"device": content["device"], "compile": content["config"].get("compile", "off")}
        then, now = content["versions"] | how, checkpoint.versions()
        for name, value in (now | {"device": str(self.device), "compile": self.config["compile"]}).items():
            if then.get(name) != value:
                self.logger.say(f"note: {name} was {then.get(name)}, is {value}; the run goes on, but not bit for bit")
        self.counters = Counters(**content["counters"])
        self.lineage = content.get("lineage", [])
        self.agent.load_training_state(content["agent"])
        self.replay.load_state_dict(content["replay"])
        self.collector.load_state_dict(content["collector"])
        self.eval_env.unwrapped.set_state(checkpoint.tensors_to_arrays(content["eval_env"]))  # type: ignore[attr-defined]
        self.logger.truncate(self.frame)
        self.logger.load_state_dict(content["logger"])
        self._load_own_state(content.get("own", {}))
        set_random_state(content["random"], self.device)
        self.logger.say(f"resume: continuing at frame {self.frame} of {self.config['num_train_frames']}")
