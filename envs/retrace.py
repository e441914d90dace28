"""States that a run of pixels has passed through, from its actions: what ``obs_type=states`` would have shown it.

Not all of an observation follows from the simulator's state (positions, velocities, activations): accelerometers,
force and torque sensors are of the step that led there. So the run's environments are made again, with the seeds they
had, and taken through the episodes that were stored; that they pass through the same simulator states, bit for bit, is
checked at every step.
"""

from typing import Any

import numpy as np

from envs.make import make
from envs.vector import env_seed
from utils.errors import UserError


class Retrace:
    """One environment of a run, gone through again."""

    def __init__(self, task: str, *, seed: int, index: int, **settings: Any) -> None:
        """Environment ``index`` of those that ``make_vector`` makes of ``task``, ``seed`` and ``settings``."""
        made = {**settings, "obs_type": "states", "seed": env_seed(seed, index)}
        self.env = make(task, **made)
        self._name = f"task={task}, environment {index}"

    def episode(self, physics: np.ndarray, actions: np.ndarray, resets: int) -> np.ndarray:
        """The observations, float32 (L + 1, D), of the next stored episode.

        Args:
            physics: simulator states (L + 1, P), the first after the reset.
            actions: (L + 1, A), those that led there; the first is not used.
            resets: how many resets may come before that of this episode, which were of episodes that are not stored.

        Raises:
            UserError: the environment goes another way here: another version of the simulator, or of the task.
        """
        observation, info = self.env.reset()
        while not _same(info, physics[0]):
            if resets == 0:
                raise self._lost("no reset leads where an episode begins")
            resets -= 1
            observation, info = self.env.reset()
        shown = [observation["observation"]]
        for row in range(1, len(physics)):
            observation, _, _, _, info = self.env.step(actions[row])
            if not _same(info, physics[row]):
                raise self._lost(f"step {row} of an episode leads elsewhere")
            shown.append(observation["observation"])
        return np.stack(shown)

    def _lost(self, what: str) -> UserError:
        return UserError(
            f"{self._name}: {what}, so the states that the run has seen cannot be rebuilt here. Use the versions of "
            "dm_control and mujoco that the run was made with, on the same kind of processor."
        )

    def close(self) -> None:
        self.env.close()


def _same(info: dict[str, Any], state: np.ndarray) -> bool:
    return np.array_equal(info["physics"], state)
