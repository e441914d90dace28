"""What the skills of an on-policy run do, seen from outside: where they go, and videos of it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agents.rest.agent import RestAgent, RestMode
from envs.autoreset import AutoresetVector


class Played(NamedTuple):
    """An episode of a skill."""

    path: NDArray[np.float64]
    """Where it was: x and y at every time, (T + 1, 2)."""
    frames: NDArray[np.uint8] | None
    """(T + 1, S, S, 3), of those that are filmed."""


def play_skill(
    agent: RestAgent,
    envs: AutoresetVector,
    skill: int,
    length: int,
    *,
    mode: RestMode = "train",
    filmed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> list[Played]:
    """One episode of ``skill`` in every environment, of at most ``length`` steps; the first ``filmed`` with frames."""
    count = envs.num_envs
    obs = envs.reset()
    paths = [[place] for place in envs.positions()]
    films = [[envs.render(index)] for index in range(filmed)]
    running = np.ones(count, bool)
    for _ in range(length):
        action, _ = agent.act(torch.from_numpy(obs).to(agent.device), skill, mode)
        stepped = envs.step(action.cpu().numpy())
        ends = stepped.terminated | stepped.truncated
        for index in np.flatnonzero(running):
            paths[index].append(stepped.info["position"][index])
            if index < filmed and not ends[index]:  # an environment that has ended shows its next episode
                films[index].append(envs.render(int(index)))
        running &= ~ends
        obs = stepped.obs
        tick()
        if not running.any():
            break
    films = films + [[]] * (count - filmed)
    return [Played(np.stack(path), np.stack(film) if film else None) for path, film in zip(paths, films, strict=True)]
