"""Evaluation episodes: the policy's mean action, a stream of random numbers of their own."""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch

from agents.agent import Agent


class Evaluation(NamedTuple):
    """Returns and lengths of E episodes, and the images of the first."""

    returns: list[float]
    lengths: list[int]
    """Frames."""
    frames: np.ndarray
    """uint8 (T, S, S, 3)."""


def evaluate(
    agent: Agent,
    env: gymnasium.Env,
    episodes: int,
    *,
    action_repeat: int,
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Run ``episodes`` episodes of ``env`` with the agent's evaluation actions.

    The global random state of torch is put back afterwards and the episodes draw from ``seed``, so how often a run
    evaluates does not change what it learns. The environment keeps its own random stream. None when ``should_stop``
    became true on the way.
    """
    returns, lengths, frames = [], [], []
    start = agent.start(1)
    device = start.action.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for index in range(episodes):
            acting = agent.start(1)
            seen, _ = env.reset()
            total, length, done, first = 0.0, 0, False, True
            while not done:
                if should_stop():
                    return None
                if index == 0:
                    frames.append(seen["observation"])
                observation = torch.from_numpy(seen["observation"])[None].to(device)
                action, acting = agent.act(observation, acting, torch.tensor([first], device=device), "eval")
                seen, reward, terminated, truncated, _ = env.step(action[0].cpu().numpy())
                done, first = terminated or truncated, False
                total += float(reward)
                length += action_repeat
            returns.append(total)
            lengths.append(length)
    return Evaluation(returns, lengths, np.stack(frames).transpose(0, 2, 3, 1))
