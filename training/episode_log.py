"""What is written of every episode: a row of ``train.csv``, and for DrQ a row of ``episodes.csv`` besides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.skills import OneHot, SkillSpace
from replay import Replay
from training.collector import Episode
from training.evaluators import Brought, Stage
from training.judged import Judged, judge
from utils.csv_log import CsvLog
from utils.logger import Logger

EPISODES = "episodes.csv"
EPISODE_COLUMNS = (
    "type",
    "episode",
    "step",
    "duration",
    "episode_extrinsic_reward",
    "skill_id",
    "episode_intrinsic_reward_sum",
)


class EpisodeLog:
    """One row and console line per training episode, from the first that ends after updates began."""

    def add(self, stage: Stage, replay: Replay, episode: Episode) -> None:
        """An episode that has just ended; the run has counted it."""
        if stage.counters.updates == 0:
            return
        stage.logger.log("episode_reward", episode.reward, "train")
        stage.logger.log("episode_length", episode.length, "train")
        stage.logger.log("episode", stage.counters.episode, "train")
        stage.logger.log("buffer_size", replay.steps, "train")
        stage.logger.dump(stage.clock.step, "train")

    def flush(self) -> None:
        """Wait until the rows are on the disk."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Back to where a checkpoint was written; None: to the beginning."""


class SkillEpisodeLog(EpisodeLog):
    """Besides, a row of every episode, also of evaluations (:meth:`record`), with its skill and what the discriminator
    made of it: the published form of DrQ with DIAYN.
    """

    def __init__(self, run_dir: Path, logger: Logger) -> None:
        self._logger = logger
        self._rows = CsvLog(run_dir / EPISODES, EPISODE_COLUMNS, order_by="step", text=("type",))
        self._began = logger.elapsed

    def add(self, stage: Stage, replay: Replay, episode: Episode) -> None:
        number, judged = -1, None
        if stage.agent.shown.dim:
            records = replay.ended(episode.env)
            skill = records["skill"][-1]
            number = skill_number(stage.agent.shown, skill)
            judged = judge(stage.agent, records["observation"], skill)
        intrinsic = intrinsic_sum(judged)
        now = self._logger.elapsed
        duration, self._began = now - self._began, now
        self._append(stage, "train", stage.counters.episode, duration, episode.reward, number, intrinsic)
        if stage.counters.updates:
            stage.logger.log("duration", duration, "train")
            if number >= 0:
                stage.logger.log("current_skill", number, "train")
            if judged is not None:
                stage.logger.log("episode_intrinsic_reward_sum", intrinsic, "train")
                sums = {f"skill_{number}_episode_intrinsic_reward_sum": intrinsic}
                stage.logger.write_scalars(stage.clock.frame, sums, "train")
        super().add(stage, replay, episode)

    def record(self, stage: Stage, index: int, skill: int, brought: Brought) -> None:
        """An evaluation episode."""
        intrinsic = intrinsic_sum(brought.judged)
        self._append(stage, "eval", index, -1.0, brought.extrinsic, skill, intrinsic)
        if stage.agent.shown.dim:
            stage.logger.log(f"skill_{skill}_episode_reward", brought.extrinsic, "eval")
        if brought.judged is not None:
            stage.logger.log(f"skill_{skill}_episode_intrinsic_reward_sum", intrinsic, "eval")

    def _append(
        self, stage: Stage, kind: str, episode: int, duration: float, reward: float, skill: int, intrinsic: float
    ) -> None:
        values = (kind, episode, stage.clock.step, duration, reward, skill, intrinsic)
        self._rows.append(dict(zip(EPISODE_COLUMNS, values, strict=True)))

    def flush(self) -> None:
        self._rows.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": len(self._rows), "episode_seconds": self._logger.elapsed - self._began}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        state = state or {}
        self._rows.truncate_rows(state.get("episodes", 0))
        self._began = self._logger.elapsed - state.get("episode_seconds", 0.0)


def skill_number(space: SkillSpace, skill: np.ndarray) -> int:
    """The index of a one-hot skill (n,); -1 where there are none, or too many to be counted."""
    return int(skill.argmax()) if isinstance(space, OneHot) else -1


def intrinsic_sum(judged: Judged | None) -> float:
    """The intrinsic rewards of an episode, in nats; 0 without a discriminator."""
    return float(judged.rewards.sum()) if judged else 0.0
