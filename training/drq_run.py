"""The run of ``drq_train.py``: the off-policy loop with DrQ's logs, evaluations of every skill, and models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.drq.agent import DrQAgent
from training.collector import Episode
from training.evaluation import play
from training.judged import Judged, judge, predicted_entropy, share_named
from training.off_policy import OffPolicyRun, Phase
from training.parts import EVALUATION, Parts, episode_records
from training.skill_grid import SkillGrid
from utils.csv_log import CsvLog
from utils.log_layout import Field, LogLayout
from utils.logger import Logger
from utils.seeding import derive, own_randomness
from utils.video import label

EPISODES = "episodes.csv"
MODELS = "models"
FINAL_MODEL = f"{MODELS}/final_model.pt"
VIDEO_SIZE = 256  # pixels a side
VIDEO_FPS = 25

LAYOUT = LogLayout(
    columns={
        "train": ("step", "episode", "episode_reward", "duration", "frame", "total_time", "fps", "buffer_size"),
        "eval": ("step", "episode", "episode_reward", "frame", "total_time"),
    },
    fields={
        "train": (
            Field("episode", "E", "int"),
            Field("frame", "S", "int"),
            Field("episode_reward", "R", "float"),
            Field("duration", "D", "seconds"),
            Field("batch_reward", "BR", "float"),
            Field("actor_loss", "ALOSS", "float"),
            Field("critic_loss", "CLOSS", "float"),
            Field("alpha_loss", "TLOSS", "float"),
            Field("alpha_value", "TVAL", "float"),
            Field("actor_entropy", "AENT", "float"),
        ),
        "eval": (Field("episode", "E", "int"), Field("frame", "S", "int"), Field("episode_reward", "R", "float")),
    },
    width=5,
)
"""The published form (docs/agents/drq.md, what a run writes)."""

EPISODE_COLUMNS = (
    "type",
    "episode",
    "step",
    "duration",
    "episode_extrinsic_reward",
    "skill_id",
    "episode_intrinsic_reward_sum",
)


class Brought(NamedTuple):
    """What an evaluation episode brought."""

    extrinsic: float
    """Sum of the task's rewards."""
    judged: Judged | None
    """None without skills."""


class DrQRun(OffPolicyRun):
    """What :class:`OffPolicyRun` does, with an update at every step, and looked at as the published program does."""

    agent: DrQAgent
    log_layout = LAYOUT
    length_key = "num_train_steps"

    def __init__(self, config: Mapping[str, Any], run_dir: Path, phase: Phase, parts: Parts, logger: Logger) -> None:
        super().__init__(config, run_dir, phase, parts, logger)
        self.updates_at_once = config["num_train_iters"]
        self.episodes = CsvLog(run_dir / EPISODES, EPISODE_COLUMNS, order_by="step", text=("type",))
        self._episode_began = logger.elapsed

    # ---- training episodes

    def _log_episode(self, episode: Episode) -> None:
        number, intrinsic = -1, 0.0
        if self.agent.skill_dim:
            records = self._records(episode)
            skill = records["skill"][-1]
            number, intrinsic = skill_number(skill), intrinsic_sum(judge(self.agent, records["observation"], skill))
        duration, self._episode_began = self.logger.elapsed - self._episode_began, self.logger.elapsed
        self._append("train", self.counters.episode + 1, duration, episode.reward, number, intrinsic)
        if self.updates:
            self.logger.log("duration", duration, "train")
            if self.agent.skill_dim:
                self.logger.log("current_skill", number, "train")
                self.logger.log("episode_intrinsic_reward_sum", intrinsic, "train")
                sums = {f"skill_{number}_episode_intrinsic_reward_sum": intrinsic}
                self.logger.write_scalars(self.frame, sums, "train")
        super()._log_episode(episode)

    def _records(self, episode: Episode) -> dict[str, np.ndarray]:
        """The records of an episode that has just ended."""
        streams = self.replay.episodes
        _, start, length = streams[streams[:, 0] == episode.env][-1]
        return self.replay.read(episode.env, int(start), int(length))

    def _append(self, kind: str, episode: int, duration: float, reward: float, skill: int, intrinsic: float) -> None:
        values = (kind, episode, self.step, duration, reward, skill, intrinsic)
        self.episodes.append(dict(zip(EPISODE_COLUMNS, values, strict=True)))

    # ---- evaluation

    def evaluate_if_due(self) -> None:
        """``num_eval_episodes`` episodes of every skill with mean actions, then a model."""
        if not self.counters.evaluation_due:
            return
        env = self.eval_env.unwrapped
        before = env.get_state()  # type: ignore[attr-defined]
        seed = derive(self.config["seed"], EVALUATION, self.counters.evaluations)
        with own_randomness(self.device, seed):
            played = self._play_all()
        if played is None:
            env.set_state(before)  # type: ignore[attr-defined]
            return
        self.counters.evaluation_due = False
        self.counters.evaluations += 1
        for skill, episodes in played.items():
            self._log_skill(skill, episodes)
        returns = [float(np.mean([one.extrinsic for one in episodes])) for episodes in played.values()]
        self.logger.log("episode_reward", float(np.mean(returns)), "eval")
        if judged := [one.judged for episodes in played.values() for one in episodes if one.judged]:
            self.logger.log("best_skill_episode_reward", max(returns), "eval")
            self.logger.log("diayn_acc", share_named(judged), "eval")
            self.logger.log("diayn_entropy", predicted_entropy(judged), "eval")
        self.logger.log("episode", self.counters.episode, "eval")
        self.logger.dump(self.step, "eval")
        self.save_snapshot(self.run_dir / MODELS / f"model_{self.step}.pt")

    def _play_all(self) -> dict[int, list[Brought]] | None:
        """What the episodes of every skill (-1 without skills) brought; None when the run is to stop.

        Films the first episode of each, and then all of these side by side.
        """
        films, skills = self.config["save_video"], self.agent.skill_dim
        grid = SkillGrid(skills, episode_records(self.config), VIDEO_SIZE) if films and skills else None
        found: dict[int, list[Brought]] = {}
        for skill in self.agent.skills.space.candidates(self.device):
            number = skill_number(skill.cpu().numpy())
            found[number] = []
            for index in range(self.config["num_eval_episodes"]):
                brought = self._play_one(skill, grid, films=films and index == 0)
                if brought is None:
                    return None
                found[number].append(brought)
        if grid is not None:
            self._video("skills", grid.frames(), "eval", VIDEO_FPS, Path("video", f"{self.step}_skills.mp4"))
        return found

    def _play_one(self, skill: torch.Tensor, grid: SkillGrid | None, *, films: bool) -> Brought | None:
        """One episode of a skill (n,), with a video and a place in ``grid`` if ``films``. Its pictures are not kept:
        those of all skills together would take gigabytes.
        """
        picture = self._picture if films else None
        played = play(self.agent, self.eval_env, skill, picture=picture, should_stop=lambda: self.stop.received)
        if played is None:
            return None
        one_hot = skill.cpu().numpy()
        judged = judge(self.agent, played.images, one_hot)
        if films:
            self._film(skill_number(one_hot), played.pictures, judged)
            if grid is not None:
                grid.add(played.pictures, self.agent.skills.space.name(skill))
        return Brought(played.reward, judged)

    def _picture(self) -> np.ndarray:
        return self.eval_env.unwrapped.render_at(VIDEO_SIZE)  # type: ignore[attr-defined]

    def _film(self, skill: int, pictures: np.ndarray, judged: Judged | None) -> None:
        """A video of one episode: pictures (T + 1, H, W, 3), the intrinsic reward (T,) of each step written on it."""
        lines = [overlay(skill, reward) for reward in (None, *judged.rewards)] if judged else [""] * len(pictures)
        name = f"skill_{max(skill, 0)}"
        self._video(name, label(pictures, lines), "eval", VIDEO_FPS, Path("video", f"{self.step}_{name}.mp4"))

    def _log_skill(self, skill: int, episodes: list[Brought]) -> None:
        for index, (extrinsic, judged) in enumerate(episodes):
            intrinsic = intrinsic_sum(judged)
            self._append("eval", index, -1.0, extrinsic, skill, intrinsic)
            if self.agent.skill_dim:
                self.logger.log(f"skill_{skill}_episode_reward", extrinsic, "eval")
                self.logger.log(f"skill_{skill}_episode_intrinsic_reward_sum", intrinsic, "eval")

    def _show_skills(self) -> None:
        """Nothing at snapshots: every evaluation films every skill."""

    def _unreached_snapshots(self) -> list[str]:
        steps, frames = self.config["num_train_steps"], self.config["num_train_frames"]
        late = [mark for mark in self.config["snapshots"] if mark > frames]
        ends = f"num_train_steps={steps}, {frames} frames, ends before snapshots={late}; these are not written"
        return [ends] if late else []

    # ---- saving

    def finish(self) -> None:
        """Write the final model."""
        self._save_final(self.run_dir / FINAL_MODEL)

    def save_checkpoint(self) -> None:
        self.episodes.flush()
        super().save_checkpoint()

    def _own_state(self) -> dict[str, Any]:
        return {"episodes": len(self.episodes), "episode_seconds": self.logger.elapsed - self._episode_began}

    def _load_own_state(self, state: Mapping[str, Any] | None) -> None:
        self.episodes.truncate_rows(state["episodes"] if state else 0)
        self._episode_began = self.logger.elapsed - (state["episode_seconds"] if state else 0.0)


def skill_number(skill: np.ndarray) -> int:
    """The index of a one-hot skill (n,); -1 where there are none."""
    return int(skill.argmax()) if skill.size else -1


def intrinsic_sum(judged: Judged | None) -> float:
    """The intrinsic rewards of an episode, in nats; 0 without skills."""
    return float(judged.rewards.sum()) if judged else 0.0


def overlay(skill: int, reward: float | None) -> str:
    """What is written on a frame: ``skill 3  IR: -0.1234``; no reward on the first frame."""
    return f"skill {skill}" + ("" if reward is None else f"  IR: {reward:.4f}")
