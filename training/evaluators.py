"""How a run evaluates its agent: one row of ``eval.csv``, and videos. A run is given one of these."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch

from agents.agent import Agent
from training.clock import Clock
from training.evaluation import Picture, evaluate, goal_images, play, skill_gallery
from training.judged import Judged, judge, predicted_entropy, share_named
from training.parts import EVALUATION, GALLERY
from training.skill_grid import SkillGrid
from utils.logger import Logger
from utils.seeding import derive, own_randomness
from utils.video import label, upscale

VIDEO_FPS = 25
VIDEO_SIZE = 256
"""Pixels a side, of the videos of :class:`EverySkill`."""


@dataclass(frozen=True)
class Stage:
    """What an evaluation may use of a run."""

    agent: Agent
    env: gymnasium.Env
    seed: int
    """Of the run."""
    logger: Logger
    clock: Clock
    counters: Any
    """See :class:`training.run.Counters`."""
    stopped: Callable[[], bool]
    """Whether the run is to stop."""
    begins: Callable[[int, int], None]
    """Told which episode of an evaluation begins, from 1 on, and of how many."""
    film: Callable[..., None] | None
    """Saves a video, see :meth:`training.run.Run.video`; None where none is wanted, or none possible."""
    picture: Picture | None = None
    """How ``env`` is looked at where observations are no images; None where they are."""


class Evaluator(Protocol):
    """Evaluations of one kind."""

    keeps_models: bool
    """Whether the run writes a snapshot after each of them."""

    def evaluate(self, stage: Stage) -> bool:
        """Play, and log what was seen under ``eval``; False when the run is to stop, with nothing logged then."""
        ...

    def show(self, stage: Stage) -> None:
        """What is shown with a numbered snapshot."""
        ...


class MeanActions:
    """``episodes`` episodes with the policy's mean action, the first of them filmed; a grid of what the skills do with
    every snapshot: ``most_skills`` of them at most, ``skill_steps`` steps of each.

    For agents with skills ``skills_tried`` says over how many of them the returns of a row are taken: several before
    one is chosen, 0 afterwards, when the agent decides. Where there is a goal, ``success_rate`` is the share of
    episodes that reached it: those with a return above ``reached_above``.
    """

    keeps_models = False

    def __init__(
        self, episodes: int, *, most_skills: int, skill_steps: int, reached_above: float | None = None
    ) -> None:
        self.episodes, self.most_skills, self.skill_steps = episodes, most_skills, skill_steps
        self.reached_above = reached_above

    def evaluate(self, stage: Stage) -> bool:
        result = evaluate(
            stage.agent,
            stage.env,
            self.episodes,
            action_repeat=stage.clock.frames,
            seed=derive(stage.seed, EVALUATION, stage.counters.evaluations),
            picture=stage.picture if stage.film is not None else None,
            should_stop=stage.stopped,
            begins=stage.begins,
        )
        if result is None:
            return False
        for reward, length in zip(result.returns, result.lengths, strict=True):
            stage.logger.log("episode_reward", reward, "eval")
            stage.logger.log("episode_length", length, "eval")
        stage.logger.log("episode_reward_std", float(np.std(result.returns)), "eval")
        if self.reached_above is not None:
            reached = [reward > self.reached_above for reward in result.returns]
            stage.logger.log("success_rate", float(np.mean(reached)), "eval")
        if stage.agent.shown.dim:
            stage.logger.log("skills_tried", result.skills, "eval")
        if stage.film is not None and len(result.frames):
            stage.film("episode", upscale(result.frames, 4), "eval", VIDEO_FPS)
        return True

    def show(self, stage: Stage) -> None:
        """A video grid of what the skills do, and a still one of the images that the agent has of where they lead;
        nothing for agents without.
        """
        if not stage.agent.shown.dim or stage.film is None:
            return
        grid = skill_gallery(
            stage.agent,
            stage.env,
            most=self.most_skills,
            steps=self.skill_steps,
            seed=derive(stage.seed, GALLERY),
            picture=stage.picture,
            should_stop=stage.stopped,
        )
        if grid is not None:
            stage.film("skills", grid, "train", VIDEO_FPS)
        goals = goal_images(stage.agent, most=self.most_skills, seed=derive(stage.seed, GALLERY))
        if goals is not None:
            path = Path("videos", f"train_skill_codes_{stage.clock.frame}.gif")
            stage.film("skill_codes", goals, "train", VIDEO_FPS, path)


class Brought(NamedTuple):
    """What an evaluation episode brought."""

    extrinsic: float
    """Sum of the task's rewards."""
    judged: Judged | None
    """None without a discriminator."""


Record = Callable[[Stage, int, int, Brought], None]
"""Takes (stage, index of the episode, skill or -1, what it brought) of every evaluation episode."""


class EverySkill:
    """``episodes`` episodes of every skill with mean actions, the first of each filmed, then a model: the published
    evaluation of DrQ with DIAYN.

    ``length`` is the most records of an episode; ``record`` is given every episode.
    """

    keeps_models = True

    def __init__(self, episodes: int, *, length: int, record: Record) -> None:
        self.episodes, self.length, self.record = episodes, length, record

    def evaluate(self, stage: Stage) -> bool:
        seed = derive(stage.seed, EVALUATION, stage.counters.evaluations)
        with own_randomness(stage.agent.device, seed):
            played = self._play_all(stage)
        if played is None:
            return False
        for skill, episodes in played.items():
            for index, brought in enumerate(episodes):
                self.record(stage, index, skill, brought)
        returns = [float(np.mean([one.extrinsic for one in episodes])) for episodes in played.values()]
        stage.logger.log("episode_reward", float(np.mean(returns)), "eval")
        if stage.agent.shown.dim:
            stage.logger.log("best_skill_episode_reward", max(returns), "eval")
        if judged := [one.judged for episodes in played.values() for one in episodes if one.judged]:
            stage.logger.log("diayn_acc", share_named(judged), "eval")
            stage.logger.log("diayn_entropy", predicted_entropy(judged), "eval")
        return True

    def show(self, stage: Stage) -> None:
        """Nothing: every evaluation films every skill."""

    def _play_all(self, stage: Stage) -> dict[int, list[Brought]] | None:
        """What the episodes of every skill (-1 without skills) brought, by their numbers among those that stand for
        all; None when the run is to stop.

        Films the first episode of each, and then all of these side by side.
        """
        skills = stage.agent.shown.dim > 0
        candidates = stage.agent.shown.candidates(stage.agent.device)
        grid = SkillGrid(len(candidates), self.length, VIDEO_SIZE) if stage.film is not None and skills else None
        found: dict[int, list[Brought]] = {}
        for number, skill in enumerate(candidates, start=0 if skills else -1):
            found[number] = []
            for index in range(self.episodes):
                stage.begins((len(found) - 1) * self.episodes + index + 1, len(candidates) * self.episodes)
                films = stage.film is not None and index == 0
                brought = self._play_one(stage, number, skill, grid, films=films)
                if brought is None:
                    return None
                found[number].append(brought)
        if grid is not None and stage.film is not None:
            stage.film("skills", grid.frames(), "eval", VIDEO_FPS, Path("video", f"{stage.clock.step}_skills.mp4"))
        return found

    def _play_one(
        self, stage: Stage, number: int, skill: torch.Tensor, grid: SkillGrid | None, *, films: bool
    ) -> Brought | None:
        """One episode of a skill (n,), with a video and a place in ``grid`` if ``films``. Its pictures are not kept:
        those of all skills together would take gigabytes.
        """
        picture = (lambda: stage.env.render_at(VIDEO_SIZE)) if films else None  # type: ignore[attr-defined]
        played = play(stage.agent, stage.env, skill, picture=picture, should_stop=stage.stopped)
        if played is None:
            return None
        judged = judge(stage.agent, played.images, skill.cpu().numpy())
        if films and stage.film is not None:
            rewards = (None, *judged.rewards) if judged else [None] * len(played.pictures)
            shown = stage.agent.shown.name(skill) if number >= 0 else ""
            lines = [overlay(shown, reward) for reward in rewards]
            name = f"skill_{max(number, 0)}"
            path = Path("video", f"{stage.clock.step}_{name}.mp4")
            stage.film(name, label(played.pictures, lines), "eval", VIDEO_FPS, path)
            if grid is not None:
                grid.add(played.pictures, shown)
        return Brought(played.reward, judged)


def overlay(skill: str, reward: float | None) -> str:
    """What is written on a frame: ``skill 3  IR: -0.1234``; no reward on the first frame."""
    return skill + ("" if reward is None else f"  IR: {reward:.4f}")
