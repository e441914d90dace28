"""Plays whole episodes of environments that reset themselves, and keeps where they lead."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from envs.autoreset import AutoresetVector

Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Observations (n, D) -> actions (n, A)."""


def play(
    venv: AutoresetVector, act: Act, longest: int, *, watch: Callable[[int], object] | None = None
) -> list[NDArray[np.float64]]:
    """One new episode of each environment, to its end or for ``longest`` steps: the positions on the way, (T + 1, 2)
    float64, the first and the last included.

    Args:
        act: called for all environments until the last has ended; what the others do meanwhile is left out.
        watch: called with i before each step of the episode of environment i, e.g. to draw it. Its last view is not
            shown: by then the environment has reset itself.
    """
    obs = venv.reset()
    places = [[place] for place in venv.positions()]
    running = np.ones(venv.num_envs, bool)
    for _ in range(longest):
        if watch is not None:
            for index in np.flatnonzero(running):
                watch(int(index))
        step = venv.step(act(obs))
        obs = step.obs
        for index in np.flatnonzero(running):
            places[index].append(step.info["position"][index])
        running &= ~(step.terminated | step.truncated)
        if not running.any():
            break
    return [np.stack(path) for path in places]
