"""Plays the skills of a folder of ReST's models with mean actions, each from the same starts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from agents.rest.agent import RestMode
from analysis.episodes import Walked, play
from analysis.skill_models import Restored
from analysis.snapshot_tool import ACTING, ENV
from envs.on_policy import make_rollouts
from training.rest_parts import environment
from training.skill_models import FILE, Turned, model_path, turns
from utils.errors import UserError
from utils.seeding import derive, own_randomness
from utils.video import Frames


class SkillWalks(NamedTuple):
    """What one skill did."""

    name: str
    episodes: list[Walked]
    frames: Frames
    """Of the first episode, uint8 (T, S, S, 3); empty, (0,), where nothing was filmed."""


def models_at(path: Path) -> Turned | None:
    """The models that ``path`` names: a folder of them, the newest of a run's, or the one that a skill's file is in.

    None where there are none of ReST.
    """
    folder = path.parent.parent if path.name == FILE and path.parent.name.startswith("skill") else path
    if model_path(folder, 0).is_file():
        cycle, skill, iteration = (int(name) if name.isdigit() else 0 for name in ("", "", "", *folder.parts)[-3:])
        return Turned(cycle, skill, iteration, folder)
    return max(turns(folder), default=None) if folder.is_dir() else None


def chosen(agent_skills: int, asked: str) -> list[int]:
    """Numbers of the skills ``asked`` for: ``all``, or numbers with commas. Raises :class:`UserError`."""
    words = [str(number) for number in range(agent_skills)] if asked == "all" else asked.split(",")
    if not all(word.strip().isdecimal() and int(word) < agent_skills for word in words):
        raise UserError(
            f"skills={asked} is not possible: set it to all, or numbers from 0 to {agent_skills - 1} with commas "
            "between them."
        )
    return [int(word) for word in words]


def walks(
    restored: Restored,
    skills: Sequence[int],
    episodes: int,
    *,
    seed: int,
    size: int | None = None,
    steps: int | None = None,
    sampled: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> list[SkillWalks]:
    """So many starts of the models' own environment with each of ``skills``, for as many steps as in training unless
    ``steps`` says less; the first is filmed in pictures of ``size``, if that is given. Actions are means, or
    ``sampled``.
    """
    agent, settings = restored
    mode: RestMode = "train" if sampled else "eval"
    start = derive(seed, ENV)
    envs = make_rollouts(
        environment(settings),
        episodes,
        seed=start,
        terminate_when_unhealthy=settings.terminate_when_unhealthy,
        pictures=size is not None,
        image_size=size or 64,
        render_quality="lite",
    )
    found: list[SkillWalks] = []
    try:
        for skill in skills:
            shown: list[np.ndarray] = []

            def act(obs: np.ndarray, skill: int = skill) -> np.ndarray:
                return agent.act(torch.from_numpy(obs), skill, mode)[0].numpy()

            def watch(index: int, shown: list[np.ndarray] = shown) -> None:
                if index == 0:
                    shown.append(envs.render(0))

            length = min(settings.traj_len, steps or settings.traj_len)
            with own_randomness(agent.device, derive(seed, ACTING, skill)):
                walked = play(envs, act, length, seed=start, watch=watch if size else None)
            found.append(SkillWalks(f"skill {skill}", walked, np.array(shown, np.uint8)))
            tell(f"skill {skill}: {len(walked)} episodes")
    finally:
        envs.close()
    return found
