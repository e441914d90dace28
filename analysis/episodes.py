"""Plays whole episodes of environments that reset themselves, and keeps where they lead."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.autoreset import AutoresetVector

Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Observations (n, D) -> actions (n, A)."""


class Walked(NamedTuple):
    """An episode of T steps."""

    path: NDArray[np.float64]
    """The positions on the way, (T + 1, 2), the first and the last included."""
    reward: float
    """Sum of the environment's own rewards."""


def play(
    venv: AutoresetVector,
    act: Act,
    longest: int,
    *,
    seed: int | None = None,
    watch: Callable[[int], object] | None = None,
) -> list[Walked]:
    """One new episode of each environment, to its end or for ``longest`` steps.

    Args:
        seed: begins with the first episodes of that seed, in place of those that are next.
        act: called for all environments until the last has ended; what the others do meanwhile is left out.
        watch: called with i before each step of the episode of environment i, e.g. to draw it. Its last view is not
            shown: by then the environment has reset itself.
    """
    obs = venv.reset(seed)
    places = [[place] for place in venv.positions()]
    running, rewards = np.ones(venv.num_envs, bool), np.zeros(venv.num_envs)
    for _ in range(longest):
        if watch is not None:
            for index in np.flatnonzero(running):
                watch(int(index))
        step = venv.step(act(obs))
        obs = step.obs
        for index in np.flatnonzero(running):
            places[index].append(step.info["position"][index])
        rewards[running] += step.reward[running]
        running &= ~(step.terminated | step.truncated)
        if not running.any():
            break
    return [Walked(np.stack(path), float(reward)) for path, reward in zip(places, rewards, strict=True)]
