"""Meta-World's reach as it is evaluated zero-shot: fifty goals, sparse rewards, a camera on the table."""

import pickle
from typing import Any

import gymnasium
import numpy as np
from dm_control import mujoco
from dm_control.mujoco.wrapper import MjData
from gymnasium import spaces
from numpy.typing import NDArray

from envs.adapters import PixelObservation, StateObservation
from envs.checks import check_positive
from envs.goals import GOALS, reach_goals
from envs.own import OwnEnv
from envs.rendering import Renderer
from envs.replayed import ReplayedEnv
from utils.errors import UserError

CONTROL_STEPS = 500
"""In an episode."""
OBSERVED = 39
"""Hand, gripper and objects now and one step before, and three zeros in place of the goal."""
ACTIONS = 4
"""Displacement in x, y and z, in units of 0.01 m a control step, and the gripper's effort."""
CAMERA = "corner4"
NEED = "pip install -e '.[metaworld]'"
GAIN = 10.0
"""Of :meth:`Reach.towards_goal`, per m."""


def make_reach(
    domain: str,
    task: str,
    obs_type: str = "pixels",
    action_repeat: int = 2,
    seed: int = 1,
    image_size: int = 64,
    render_quality: str = "full",
    goal_seed: int | None = None,
    task_id: int | None = None,
) -> OwnEnv:
    """The environment of ``mw_reach``, in the form of :mod:`envs.contract`.

    Observations are images, uint8 (3, image_size, image_size), or Meta-World's own numbers without the goal, float32
    (39,). Otherwise as :class:`Reach`. ``seed`` decides the goals of all episodes.

    Raises:
        UserError: Meta-World is not installed.
    """
    reach = Reach(action_repeat, reach_goals(seed if goal_seed is None else goal_seed), task_id)
    reach.camera = image_size, render_quality
    replayed = ReplayedEnv(reach, seed)
    return OwnEnv(PixelObservation(replayed, image_size) if obs_type == "pixels" else StateObservation(replayed))


def at_goal(env: gymnasium.Env, goal: int) -> NDArray[Any]:
    """What is to be observed with the hand at ``goal``, or as close to it as it comes.

    A proportional controller drives the hand there for at most an episode. ``env`` is one of :func:`make_reach`, kept
    for this: its episode is another one afterwards.
    """
    reach: Any = env.unwrapped
    aimed = reach.aimed
    try:
        reach.aim(goal)
        reach.reset(seed=0)
        actions: list[NDArray[np.float32]] = []
        distances = [reach.distance]
        while len(actions) < reach.max_episode_steps:
            actions.append(reach.towards_goal())
            reach.step(actions[-1])
            distances.append(reach.distance)
        closest = int(np.argmin(distances))
        # stepped again without pictures, but for that of the end
        state = {"running": True, "seed": 0, "episode": 0, "actions": np.reshape(actions[:closest], (-1, ACTIONS))}
        return env.set_state({"running": True, "steps": closest, "env": state})["observation"]  # type: ignore[attr-defined]
    finally:
        reach.aim(aimed)


class Reach(gymnasium.Env):
    """Bring the hand of a Sawyer arm to a goal in the air, marked by a red dot.

    Every reset draws one of ``goals`` by its seed, or takes the one that :meth:`aim` names. The reward of a step is the
    number of its control steps after which the tool centre is within 0.05 m of the goal, ``info["success"]`` whether
    there was one. An episode goes on after that; it is truncated after 500 control steps and never terminates.
    Observations are float64 (39,), actions float32 (4,), clipped to [-1, 1].

    Nothing is random but the choice of the goal, so an episode is known by its goal and its actions. MuJoCo's state is
    not enough to go back to a moment of it: the weld that drags the hand has a warm start.

    Args:
        action_repeat: control steps that an action is held for.
        goals: (50, 6), see :func:`envs.goals.reach_goals`.
        task_id: the goal of all episodes; None draws.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, action_repeat: int, goals: NDArray[np.float64], task_id: int | None = None) -> None:
        self._env = _load()
        self._repeat = action_repeat
        self.goals = goals
        self.aim(task_id)
        self.camera = 64, "full"
        """Side of the picture in pixels, and quality: counts before the first one."""
        # now: this moves the simulation, and in an episode it would change its course
        self._physics = mujoco.Physics(MjData(self._env.data))
        self._renderer: Renderer | None = None
        self._goal = 0
        self.max_episode_steps = -(-CONTROL_STEPS // action_repeat)
        self.metadata = {**self.metadata, "render_fps": round(80 / action_repeat)}
        self.observation_space = spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)

    def aim(self, goal: int | None) -> None:
        """The goal of the episodes that begin from now on; None draws one for each."""
        if goal is not None and not 0 <= goal < GOALS:
            raise UserError(f"task_id={goal} is not possible. Set it to a whole number from 0 to {GOALS - 1}.")
        self.aimed = goal

    @property
    def target(self) -> NDArray[np.float64]:
        """Where the goal of this episode lies, (3,) in m."""
        return self.goals[self._goal, 3:]

    @property
    def distance(self) -> float:
        """Of the tool centre from it, in m."""
        return float(np.linalg.norm(self._env.tcp_center - self.target))

    def towards_goal(self) -> NDArray[np.float32]:
        """The action of a proportional controller, (4,): straight to the goal."""
        moved = np.clip(GAIN * (self.target - self._env.tcp_center), -1.0, 1.0)
        return np.append(moved, 0.0).astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self._goal = int(self.np_random.integers(GOALS)) if self.aimed is None else self.aimed
        self._env.set_task(_task(self._env, self.goals[self._goal]))
        observation, _ = self._env.reset()
        return observation, {"success": False, "goal": self._goal}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        if action.shape != (ACTIONS,):
            raise ValueError(f"The action has shape {action.shape}; this environment takes {(ACTIONS,)}.")
        if np.isnan(action).any():
            raise ValueError(f"The action holds NaN: {action}. The policy has probably diverged.")
        reward, truncated = 0.0, False
        for _ in range(self._repeat):
            observation, _, _, truncated, info = self._env.step(action)
            reward += float(info["success"])
            if truncated:
                break
        return observation, reward, False, bool(truncated), {"success": reward > 0, "goal": self._goal}

    def render(self) -> NDArray[np.uint8]:
        """The present view: uint8 (S, S, 3), S that of :attr:`camera`."""
        return self._shown().frame()[::-1]  # the camera hangs upside down

    def render_at(self, size: int) -> NDArray[np.uint8]:
        """The same in another resolution, uint8 (size, size, 3)."""
        check_positive("size", size)
        return self._shown().frame_at(size)[::-1]

    def close(self) -> None:
        """Frees the rendering context."""
        if self._renderer is not None:
            self._renderer = None
            self._physics.free()

    def _shown(self) -> Renderer:
        """The renderer, made when something is to be seen for the first time."""
        if self._renderer is None:
            size, quality = self.camera
            self._renderer = Renderer(self._physics, size, CAMERA, quality)
        return self._renderer


def _load() -> Any:
    """Meta-World's own environment. Raises UserError if it is not installed."""
    try:
        from metaworld.envs.sawyer_reach_v3 import SawyerReachEnvV3  # takes seconds, so only where it is needed
    except ImportError as error:
        raise UserError(f"task=mw_reach needs Meta-World, which cannot be imported ({error}): {NEED}") from error
    return SawyerReachEnvV3()


def _task(env: Any, rand_vec: NDArray[np.float64]) -> Any:
    """What the environment is told its goal by, (6,)."""
    from metaworld.types import Task

    told = {"rand_vec": rand_vec, "env_cls": type(env), "partially_observable": True}
    return Task("reach-v3", pickle.dumps(told))
