"""Environments from outside this project, in the form the loop uses."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapters import longest_episode, resized
from envs.contract import made


def build(path: str, task: str, **settings: Any) -> "OwnEnv":
    """The environment that the factory ``path`` makes of ``task`` and the other settings of ``envs.make.make``.

    Raises:
        UserError: as :func:`envs.contract.made`.
    """
    return OwnEnv(made(path, task, settings))


class OwnEnv(gymnasium.Wrapper):
    """What the loop uses of an environment that keeps the contract of :mod:`envs.contract`.

    Observations have the key ``observation`` alone, infos ``physics`` alone. An episode is truncated after the steps
    that the environment states as its longest.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.metadata = dict(env.metadata)  # Gymnasium writes into it, and it may be of the class
        self._box = env.observation_space["observation"]  # type: ignore[index]
        self.observation_space = spaces.Dict(observation=self._box)
        self._longest = longest_episode(env)
        self._steps = 0
        self._running = False
        self._seen: dict[str, np.ndarray] = self._nothing()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed)
        self._steps, self._running = 0, True
        return self._shown(observation), _only_physics(info)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        truncated = bool(truncated) or (self._steps == self._longest and not terminated)
        self._running = not (terminated or truncated)
        return self._shown(observation), float(reward), bool(terminated), truncated, _only_physics(info)

    def render_at(self, size: int) -> np.ndarray:
        """The present view, uint8 (size, size, 3): drawn by the environment, or else resized."""
        if self.env.has_wrapper_attr("render_at"):
            return self.env.get_wrapper_attr("render_at")(size)
        return resized(np.asarray(self.env.render()), size)

    def last_observation(self) -> dict[str, np.ndarray]:
        """The observation of the present time; zeros before the first reset and after a restore between episodes."""
        return self._seen

    def get_state(self) -> dict[str, Any]:
        """As the environment's, and how far the episode is."""
        return {"running": self._running, "steps": self._steps, "env": self.env.get_state()}  # type: ignore[attr-defined]

    def set_state(self, state: dict[str, Any]) -> dict[str, np.ndarray] | None:
        """Goes back to a state of :meth:`get_state`; the present observation, or None between episodes."""
        observation = self.env.set_state(state["env"])  # type: ignore[attr-defined]
        self._running, self._steps = state["running"], state["steps"]
        if not self._running:
            self._seen = self._nothing()
            return None
        return self._shown(observation)

    # ``state`` as an attribute, for ``get_attr`` and ``set_attr`` of Gymnasium's vector environments.
    state = property(get_state, set_state)  # type: ignore[arg-type]

    def _shown(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._seen = {"observation": observation["observation"]}
        return self._seen

    def _nothing(self) -> dict[str, np.ndarray]:
        return {"observation": np.zeros(self._box.shape, self._box.dtype)}


def _only_physics(info: dict[str, Any]) -> dict[str, Any]:
    return {"physics": info["physics"]} if "physics" in info else {}
