"""Episodes played for measuring and for looking: the policy's mean action, a stream of random numbers of their own."""

import math
from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch

from agents.agent import Acting, Acts, Mode
from training.actions import executable
from training.transfer import Transfer
from utils.seeding import own_randomness
from utils.video import label, tile, upscale

NO_STATE = np.empty(0)

MOST_ENLARGED = 25
"""Skills, at most, that a grid shows at twice the size of the observations: 250 steps of as many take 0.3 GB."""


class Played(NamedTuple):
    """One episode, or the beginning of one, T steps."""

    images: np.ndarray
    """What the agent saw, the reset's first: images uint8 (T + 1, 3, S, S), or float32 (T + 1, D) with
    ``obs_type=states``."""
    states: np.ndarray
    """Simulator states, float64 (T + 1, P); P is 0 where the environment gives none."""
    reward: float
    """Sum of the task's rewards."""
    pictures: np.ndarray
    """What ``picture`` showed of the same times, uint8 (T + 1, H, W, 3); empty without it, or where it failed."""
    actions: np.ndarray
    """What was executed, float32 (T, A)."""
    rewards: np.ndarray
    """The task's, float64 (T,)."""

    @property
    def shown(self) -> np.ndarray:
        """What there is to look at, uint8 (T + 1, H, W, 3): the pictures, else the observations if these are images;
        else nothing, (0,).
        """
        if len(self.pictures) or self.images.ndim != 4:
            return self.pictures
        return self.images.transpose(0, 2, 3, 1)


Picture = Callable[[], np.ndarray | None]
"""Takes a look at an environment, uint8 (H, W, 3); None where that is not possible."""


def play(
    agent: Acts,
    env: gymnasium.Env,
    skill: torch.Tensor | None = None,
    *,
    drawn: Callable[[int], torch.Tensor] | None = None,
    led: Callable[[Acting, torch.Tensor, bool], torch.Tensor] | None = None,
    steps: int | None = None,
    picture: Picture | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Played | None:
    """One episode of ``env`` with the agent's evaluation actions, its first ``steps`` steps if that is given.

    ``skill``, one of those that ``agent.shown`` holds, is followed throughout; by default the agent picks its own.
    ``drawn`` gives the skill of every step, from 0 on; it is followed with samples of its policy, not with their mean.
    ``led`` gives it by what the agent carries and what is observed, and whether that is the first; with mean actions.
    ``picture`` takes another look at the present state after every step, for a video. None when ``should_stop`` became
    true on the way.
    """
    acting, transfer = agent.start(1), Transfer(agent.device)
    if skill is not None:
        acting = acting._replace(skill=skill[None])
    mode: Mode = "sample" if drawn is not None else "eval" if skill is None and led is None else "show"
    seen, info = env.reset()
    images, states = [seen["observation"]], [info.get("physics", NO_STATE)]
    actions, rewards = [], []
    pictures = [picture()] if picture else []
    done = False
    while not done and len(images) - 1 != steps:
        if should_stop():
            return None
        if drawn is not None:
            acting = acting._replace(skill=drawn(len(images) - 1)[None])
        observation, is_first = transfer.to_device(seen["observation"][None], np.array([len(images) == 1]))
        if led is not None:
            acting = acting._replace(skill=led(acting, observation[0], len(images) == 1)[None])
        action, acting = agent.act(observation, acting, is_first, mode)
        actions.append(executable(*transfer.to_host(action))[0])
        seen, reward, terminated, truncated, info = env.step(actions[-1])
        done = terminated or truncated
        images.append(seen["observation"])
        states.append(info.get("physics", NO_STATE))
        rewards.append(float(reward))
        if picture:
            pictures.append(picture())
    taken = np.empty(0) if any(one is None for one in pictures) else np.array(pictures)
    return Played(np.stack(images), np.stack(states), sum(rewards), taken, np.stack(actions), np.array(rewards))


class Evaluation(NamedTuple):
    """Returns and lengths of E episodes, and what was to be seen of the first."""

    returns: list[float]
    lengths: list[int]
    """Frames."""
    frames: np.ndarray
    """uint8 (T, S, S, 3); empty, (0,), where observations are no images and no pictures were taken."""
    skills: int
    """How many skills were played, one an episode; 0 where the agent picked what to do."""


def trials(agent: Acts, episodes: int) -> torch.Tensor | None:
    """The skills (E, n) of the episodes of an evaluation before one is chosen: all in turn, or as many as there are
    episodes, evenly spaced. None where the agent decides.
    """
    if not agent.tries_skills:
        return None
    candidates = agent.shown.candidates(agent.device)
    count = len(candidates)
    return candidates[[i * count // episodes if episodes < count else i % count for i in range(episodes)]]


def evaluate(
    agent: Acts,
    env: gymnasium.Env,
    episodes: int,
    *,
    action_repeat: int,
    seed: int,
    picture: Picture | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    begins: Callable[[int, int], None] = lambda number, of: None,
) -> Evaluation | None:
    """Run ``episodes`` episodes of ``env``, which draw from ``seed``; None when ``should_stop`` became true.

    The environment keeps its own random stream. ``picture`` is of the first episode. ``begins`` is told which episode
    begins, from 1 on, and of how many. While no skill is chosen the episodes are of several (:func:`trials`).
    """
    returns, lengths, frames = [], [], np.empty(0)
    tried = trials(agent, episodes)
    with own_randomness(agent.device, seed):
        for index in range(episodes):
            begins(index + 1, episodes)
            skill = None if tried is None else tried[index]
            played = play(agent, env, skill, picture=None if index else picture, should_stop=should_stop)
            if played is None:
                return None
            if index == 0:
                frames = played.shown[:-1]
            returns.append(played.reward)
            lengths.append((len(played.images) - 1) * action_repeat)
    return Evaluation(returns, lengths, frames, 0 if tried is None else len(tried.unique(dim=0)))


def skill_gallery(
    agent: Acts,
    env: gymnasium.Env,
    *,
    most: int,
    steps: int,
    seed: int,
    picture: Picture | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray | None:
    """A labelled grid of the first ``steps`` steps of ``most`` skills at most, uint8 (steps + 1, H, W, 3), enlarged
    where these are few.

    All skills begin in the same state, the one ``env`` would have begun its next episode in, and still will: it is
    left as it was. ``picture`` as in :func:`play`. None when ``should_stop`` became true, or nothing is to be seen.
    """
    before = env.get_state()  # type: ignore[attr-defined]
    videos, skills = [], agent.shown.candidates(agent.device)[:most]
    with own_randomness(agent.device, seed):
        for skill in skills:
            played = play(agent, env, skill, steps=steps, picture=picture, should_stop=should_stop)
            env.set_state(before)  # type: ignore[attr-defined]
            if played is None or not len(played.shown):
                return None
            frames = upscale(played.shown, 2 if len(skills) <= MOST_ENLARGED else 1)
            videos.append(label(frames, agent.shown.name(skill)))
    return tile(np.stack(videos), columns=math.ceil(len(videos) ** 0.5))


def goal_images(agent: Acts, *, most: int, seed: int) -> np.ndarray | None:
    """A still grid, arranged as that of :func:`skill_gallery`, of where each skill is to lead by the agent's own idea:
    uint8 (1, H, W, 3). None without such an idea.
    """
    with own_randomness(agent.device, seed):
        images = agent.skill_images()
    if images is None:
        return None
    pictures = (images[:most, None].clamp(0, 1) * 255).byte().cpu().permute(0, 1, 3, 4, 2).numpy()
    names = [agent.shown.name(skill) for skill in agent.shown.candidates(agent.device)[:most]]
    named = [label(upscale(one, 2), name) for one, name in zip(pictures, names, strict=True)]
    return tile(np.stack(named), columns=math.ceil(len(named) ** 0.5))
