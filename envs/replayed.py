"""Exact save and restore for any deterministic Gymnasium environment: seed every episode, replay its actions."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded


def episode_seed(seed: int, episode: int) -> int:
    """What ``episode`` of ``seed`` begins with: 31 bits, as some environments take no more."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0] >> 1)


class ReplayedEnv(gymnasium.Wrapper):
    """Adds :meth:`get_state` and :meth:`set_state` to an environment whose ``reset(seed=...)`` decides everything.

    Episode k of seed s begins with ``env.reset(seed=...)`` of a number drawn from (s, k), so an episode is known by s,
    k and its actions: going back to the middle of one is a reset and these actions once more. That is exact for every
    simulator that repeats itself, also where setting positions and velocities is not (MuJoCo's warm start, contact
    caches, random numbers drawn on the way). It takes as long as the steps did: wrap the environment below what draws
    its pictures, as :func:`envs.adapters.adapt` does.

    What it cannot help: an environment that draws from global generators, or learns over its episodes.

    Args:
        env: Box actions of any shape and dtype.
        seed: s, a whole number from 0. ``reset(seed=...)`` begins with another one.
    """

    def __init__(self, env: gymnasium.Env, seed: int = 0) -> None:
        super().__init__(env)
        self._seed = seed
        self._episode = 0  # of the running episode; of the next one between episodes
        self._running = False
        self._actions: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode; with ``seed``, the first one of that seed. ``options`` are not used: they would have
        to be saved.
        """
        if seed is not None:
            self._seed, self._episode, self._running = seed, 0, False
        if self._running:  # broken off
            self._episode += 1
        return self._begin()

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; remembers the action.

        Raises:
            ResetNeeded: no episode is running.
        """
        if not self._running:
            raise ResetNeeded("step() was called while no episode is running. Call reset() first.")
        return self._advance(np.array(action))

    def get_state(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here, in plain values and arrays.

        Returns:
            ``running``: whether an episode is; ``seed`` and ``episode``: s and k of it, or of the next one;
            ``actions`` (k, ...): those executed since its reset, none between episodes.
        """
        space = self.action_space
        actions = np.zeros((0, *(space.shape or ())), space.dtype)
        if self._running and self._actions:
            actions = np.stack(self._actions)
        return {"running": self._running, "seed": self._seed, "episode": self._episode, "actions": actions}

    def set_state(self, state: dict[str, Any]) -> Any:
        """Goes back to a state of :meth:`get_state`, also one of another instance.

        Returns:
            The present observation, or None if no episode was running: then call ``reset`` next.

        Raises:
            ValueError: the actions were made for another action space, or reach beyond the episode.
        """
        actions = np.asarray(state["actions"])
        if actions.shape[1:] != self.action_space.shape:
            raise ValueError(f"The state has actions of shape {actions.shape[1:]}, not {self.action_space.shape}.")
        self._seed, self._episode, self._running = int(state["seed"]), int(state["episode"]), False
        if not state["running"]:
            return None
        observation, _ = self._begin()
        for action in actions:
            if not self._running:
                raise ValueError(f"The state has {len(actions)} actions, more than its episode has steps.")
            observation, *_ = self._advance(action)
        return observation

    def _begin(self) -> tuple[Any, dict[str, Any]]:
        found = self.env.reset(seed=episode_seed(self._seed, self._episode))
        self._running, self._actions = True, []
        return found

    def _advance(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        # a copy to keep: the environment may write into what it is given
        self._actions.append(action.copy())
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self._running = False
            self._episode += 1
        return observation, reward, bool(terminated), bool(truncated), info
