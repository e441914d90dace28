"""Environments that are stepped together and reset themselves: what a run that learns from its newest rollout steps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.replayed import ReplayedEnv
from envs.vector import env_seed

Floats = NDArray[np.float32]


class Stepped(NamedTuple):
    """What a step of n environments gives; all arrays are fresh."""

    obs: Floats
    """(n, D): what to act on next. Where the episode ended, the first observation of the next one."""
    reward: Floats
    """(n,): the environment's own."""
    terminated: NDArray[np.bool_]
    """(n,): the episode ended by what happened in it, so nothing follows."""
    truncated: NDArray[np.bool_]
    """(n,): the episode was cut by its length, and would have gone on. Not with ``terminated``."""
    final_obs: Floats
    """(n, D): what the step really led to; ``obs`` but where an episode ended."""
    info: dict[str, NDArray[np.float64]]
    """``position`` (n, 2): where the step led to, as x and y, of the episode that the step belongs to."""


class AutoresetVector(Protocol):
    """n environments of a kind."""

    num_envs: int
    observed: int
    """D."""
    actions: int
    """A."""
    render_fps: int
    """Steps in a second of a video in real time."""

    def reset(self, seed: int | None = None) -> Floats:
        """Starts the next episode of every environment, (n, D); those running are broken off.

        ``seed`` begins with the first episodes of that seed. Environment i has episodes of its own, drawn from
        (seed, i).
        """

    def step(self, action: Floats) -> Stepped:
        """All environments one step on, by ``action`` (n, A).

        Raises:
            ValueError: the action has another shape or is not finite.
        """

    def positions(self) -> NDArray[np.float64]:
        """Where they are now, x and y, (n, 2)."""

    def get_state(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here, in plain values and arrays."""

    def set_state(self, state: Mapping[str, Any]) -> Floats:
        """Goes back to a state of :meth:`get_state`, also one of another instance; the present observations, (n, D).

        Raises:
            ValueError: the state is of another environment, or of another number of them.
        """

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        """The present view of environment ``index``, (S, S, 3).

        Raises:
            UserError: nothing can be rendered here.
        """

    def close(self) -> None:
        """Frees what drawing took. The environments cannot be used afterwards."""


def checked_action(action: Floats, shape: tuple[int, ...]) -> Floats:
    """``action`` as float32. Raises ValueError if it has another shape or is not finite."""
    action = np.asarray(action, np.float32)
    if action.shape != shape:
        raise ValueError(f"The actions have shape {action.shape}, not {shape}.")
    if not np.isfinite(action).all():
        raise ValueError("An action is not finite.")
    return action


def check_number(states: int, num_envs: int) -> None:
    """Raises ValueError unless there is a state for every environment."""
    if states != num_envs:
        raise ValueError(f"There are {states} states for {num_envs} environments.")


class Camera(Protocol):
    """What draws an environment."""

    def frame(self, env: gymnasium.Env) -> NDArray[np.uint8]:
        """Its present view, (S, S, 3)."""

    def close(self) -> None:
        """Frees what drawing took."""


class SerialVector:
    """Gymnasium environments, stepped one after the other: see :class:`AutoresetVector`.

    Args:
        envs: each has Box observations of float32 (D,), and in its first layer ``place``, (2,).
        name: of what they are; states of another name are refused.
        camera: draws one of them; None: they draw themselves.
    """

    def __init__(self, envs: Sequence[ReplayedEnv], name: str, camera: Camera | None = None) -> None:
        self.num_envs, self._envs, self._name, self._camera = len(envs), list(envs), name, camera
        (self.observed,) = envs[0].observation_space.shape  # type: ignore[misc]
        (self.actions,) = envs[0].action_space.shape  # type: ignore[misc]
        self.render_fps = int(envs[0].metadata["render_fps"])
        self._obs = np.zeros((self.num_envs, self.observed), np.float32)

    def reset(self, seed: int | None = None) -> Floats:
        for index, env in enumerate(self._envs):
            given = None if seed is None else env_seed(seed, index)
            self._obs[index], _ = env.reset(seed=given)
        return self._obs.copy()

    def step(self, action: Floats) -> Stepped:
        action = checked_action(action, (self.num_envs, self.actions))
        count = self.num_envs
        reward, position = np.zeros(count, np.float32), np.zeros((count, 2))
        terminated, truncated = np.zeros(count, bool), np.zeros(count, bool)
        final = np.zeros_like(self._obs)
        for index, env in enumerate(self._envs):
            final[index], reward[index], ends, cut, _ = env.step(action[index])
            terminated[index], truncated[index] = ends, cut and not ends
            position[index] = env.env.place  # type: ignore[attr-defined]
            if ends or cut:
                self._obs[index], _ = env.reset()
            else:
                self._obs[index] = final[index]
        return Stepped(self._obs.copy(), reward, terminated, truncated, final, {"position": position})

    def positions(self) -> NDArray[np.float64]:
        return np.stack([env.env.place for env in self._envs])  # type: ignore[attr-defined]

    def get_state(self) -> dict[str, Any]:
        return {"env": self._name, "envs": [env.get_state() for env in self._envs]}

    def set_state(self, state: Mapping[str, Any]) -> Floats:
        if state["env"] != self._name:
            raise ValueError(f"The state is of {state['env']}, not of {self._name}.")
        check_number(len(state["envs"]), self.num_envs)
        for index, (env, saved) in enumerate(zip(self._envs, state["envs"], strict=True)):
            observation = env.set_state(saved)
            self._obs[index] = 0.0 if observation is None else observation
        return self._obs.copy()

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        env = self._envs[index]
        return np.asarray(env.render()) if self._camera is None else self._camera.frame(env)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
        for env in self._envs:
            env.close()
