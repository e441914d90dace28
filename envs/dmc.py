"""Tasks of dm_control, those of its suite and custom ones, as Gymnasium environments."""

from collections.abc import Callable
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_control import mujoco
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from envs import floor as floors
from envs.checks import check_positive
from envs.custom_dmc_tasks import load
from envs.rendering import Renderer

Observation = dict[str, np.ndarray]

CAMERAS = {"walker": "side", "quadruped": "y", "jaco": "front_close"}  # the benchmark's; other domains use number 0


class DMCEnv(gymnasium.Env):
    """A dm_control task with action repeat, pixels or states, and exact save and restore.

    One agent step holds the action for ``action_repeat`` control steps and sums their rewards; only the returned
    observation is rendered. Time limits truncate, they never terminate.

    Observations are ``{"observation": x}``, with x uint8 (3, image_size, image_size) for ``obs_type="pixels"`` and
    float32 (D,) for ``"states"`` (the task's observation, flattened in its own order). Actions are float32 (A,) in
    [-1, 1], clipped to it, then mapped affinely to the native range.

    Args:
        domain: domain of the suite or of the custom tasks, e.g. ``walker``.
        task: task name without its domain, e.g. ``flip``.
        obs_type: ``pixels`` or ``states``.
        action_repeat: control steps per agent step.
        seed: drives every initial state; ``reset(seed=...)`` starts the sequence anew.
        image_size: side of the frame in pixels.
        camera_id: number or name of a camera in the model; None takes the domain's own.
        render_quality: ``full`` (the suite's own image) or ``lite`` (faster, other pixels): see ``envs.rendering``.
        exorl: the variant in which ExORL collected its data, where the domain has one.
        floor: ``default``, the suite's, or ``gradient``, whose colours tell places apart: see ``envs.floor``.
    """

    def __init__(
        self,
        domain: str,
        task: str,
        obs_type: str = "pixels",
        action_repeat: int = 2,
        seed: int = 1,
        image_size: int = 64,
        camera_id: int | str | None = None,
        render_quality: str = "full",
        exorl: bool = False,
        floor: str = "default",
    ):
        self._env = load(domain, task, seed, exorl)
        if floor == "gradient":
            floors.colour(self._env.physics)
        self._pixels = obs_type == "pixels"
        self._action_repeat = action_repeat
        self._image_size = image_size
        self._camera_id = CAMERAS.get(domain, 0) if camera_id is None else camera_id
        self._render_quality = render_quality
        self._renderer: Renderer | None = None
        self._frame: np.ndarray | None = None  # of the present time, if it was rendered already
        self._time_step: dm_env.TimeStep | None = None  # None unless an episode is running or has just ended
        self._running = False
        self._actions: list[np.ndarray] = []
        self._reset_random = self._random_dict()

        spec = self._env.action_spec()
        self._low = np.broadcast_to(spec.minimum, spec.shape).astype(np.float64)
        self._high = np.broadcast_to(spec.maximum, spec.shape).astype(np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, spec.shape, np.float32)
        box: spaces.Box
        if self._pixels:
            box = spaces.Box(0, 255, (3, image_size, image_size), np.uint8)
        else:
            width = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
            box = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self._observation_box = box
        self.observation_space = spaces.Dict(observation=box)
        fps = round(1.0 / (self._env.control_timestep() * action_repeat))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        self.render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Starts an episode.

        Args:
            seed: starts the sequence of initial states anew, as a fresh environment with this seed would; None goes on.
            options: not used.

        Returns:
            The observation, and info as ``step`` gives it (0 frames).
        """
        super().reset(seed=seed)
        if seed is not None:
            self.random_state.seed(seed)
        self._begin()
        return self.last_observation(), self._info(frames=0)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict]:
        """Holds ``action`` for up to ``action_repeat`` control steps.

        Args:
            action: (A,), clipped to [-1, 1].

        Returns:
            Observation; sum of the rewards; terminated (the discount became 0); truncated (the time limit was
            reached); info with ``physics``, the float64 simulator state (P,), and ``frames``, the control steps
            really executed.

        Raises:
            ValueError: the action is NaN or has another shape.
            ResetNeeded: no episode is running.
        """
        if not self._running:
            raise ResetNeeded("step() was called while no episode is running. Call reset() first.")
        reward, frames = self._advance(self._clipped(action))
        assert self._time_step is not None
        terminated = self._time_step.last() and self._time_step.discount == 0.0
        truncated = self._time_step.last() and not terminated
        return self.last_observation(), reward, bool(terminated), bool(truncated), self._info(frames)

    def render(self) -> np.ndarray:
        """The present view: uint8 (image_size, image_size, 3). Free in pixel mode, where the step has rendered it.

        Raises:
            UserError: this process has no rendering backend.
            ResetNeeded: no episode was started.
        """
        renderer = self._shown()
        if self._frame is None:
            self._frame = renderer.frame()
        return self._frame.copy()

    def render_at(self, size: int) -> np.ndarray:
        """The present view in another resolution, for videos: uint8 (size, size, 3), by the same camera and quality.

        Observations, their cost and the simulation stay as they are.

        Raises:
            UserError: this process has no rendering backend, or ``size`` is no whole number above 0.
            ResetNeeded: no episode was started.
        """
        check_positive("size", size)
        return self._shown().frame_at(size)

    def close(self) -> None:
        """Frees the rendering context. The environment cannot be used afterwards."""
        self._running, self._time_step = False, None
        if self._renderer is not None:
            self._renderer = None
            self.physics.free()

    @property
    def physics(self) -> mujoco.Physics:
        """dm_control's simulation, for tests and measures; changing it breaks save and restore.

        Some tasks hand out a weak reference: keep this environment as long as its simulation is used.
        """
        return self._env.physics

    @property
    def random_state(self) -> np.random.RandomState:
        """What draws the initial states."""
        return self._env.task.random

    def last_observation(self) -> Observation:
        """The observation of the present time; zeros before the first reset and after a restore between episodes."""
        if self._time_step is None:
            space = self._observation_box
            return {"observation": np.zeros(space.shape, space.dtype)}
        if self._pixels:
            return {"observation": np.ascontiguousarray(self.render().transpose(2, 0, 1))}
        parts = [np.ravel(part) for part in self._time_step.observation.values()]
        return {"observation": np.concatenate(parts).astype(np.float32)}

    def changed(self, change: Callable[[Any], None]) -> Observation:
        """What is to be observed after ``change`` of dm_control's environment and an agent step without moving. The
        episode cannot be saved or gone on with: keep another environment for that.
        """
        change(self._env)
        self._advance(np.zeros(self._low.shape, np.float32))
        self._running = False
        return self.last_observation()

    def get_state(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here, in plain values and arrays.

        Returns:
            ``running``: whether an episode is; ``actions``: float32 (k, A), those executed since its reset;
            ``random``: the random state as it was just before that reset. Between episodes: no actions, and the
            present random state.
        """
        actions = np.zeros((0, *self._low.shape), np.float32)
        if self._running and self._actions:
            actions = np.stack(self._actions)
        random = self._reset_random if self._running else self._random_dict()
        return {"running": self._running, "actions": actions, "random": {**random, "key": random["key"].copy()}}

    def set_state(self, state: dict[str, Any]) -> Observation | None:
        """Goes back to a state of ``get_state``; everything from there on is the same, bit for bit.

        The episode is stepped again from its reset, without rendering: MuJoCo's warm start is not in its public
        state, so setting positions and velocities would not be exact.

        Returns:
            The present observation, or None if no episode was running: then call ``reset`` next.

        Raises:
            ValueError: the actions were made for another action space, or reach beyond the episode.
        """
        actions = np.asarray(state["actions"], np.float32)
        if actions.shape[1:] != self.action_space.shape:
            raise ValueError(f"The state has actions of shape {actions.shape[1:]}, not {self.action_space.shape}.")
        random = state["random"]
        key = np.asarray(random["key"], np.uint32)
        self.random_state.set_state(("MT19937", key, random["pos"], random["has_gauss"], random["gauss"]))
        if not state["running"]:
            self._running, self._time_step, self._frame, self._actions = False, None, None, []
            return None
        self._begin()
        for action in actions:
            if not self._running:
                raise ValueError(f"The state has {len(actions)} actions, more than an episode has steps.")
            self._advance(action)
        return self.last_observation()

    # ``state`` as an attribute, for ``get_attr`` and ``set_attr`` of Gymnasium's vector environments.
    state = property(get_state, set_state)  # type: ignore[arg-type]

    def _begin(self) -> None:
        self._reset_random = self._random_dict()
        self._time_step = self._env.reset()
        self._running, self._frame, self._actions = True, None, []

    def _shown(self) -> Renderer:
        """The renderer, made when something is to be seen for the first time."""
        if self._time_step is None:
            raise ResetNeeded("There is nothing to see before an episode. Call reset() first.")
        if self._renderer is None:
            self._renderer = Renderer(self.physics, self._image_size, self._camera_id, self._render_quality)
        return self._renderer

    def _advance(self, action: np.ndarray) -> tuple[float, int]:
        """Executes a clipped float32 action (A,); gives the sum of rewards and the control steps executed."""
        native = self._low + (action.astype(np.float64) + 1.0) * 0.5 * (self._high - self._low)
        native = np.clip(native, self._low, self._high)  # rounding may exceed the range by one unit in the last place
        reward, frames = 0.0, 0
        while frames < self._action_repeat and self._running:
            self._time_step = self._env.step(native)
            reward += float(self._time_step.reward)
            frames += 1
            self._running = not self._time_step.last()
        self._actions.append(action)
        self._frame = None
        return reward, frames

    def _clipped(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape:
            raise ValueError(f"The action has shape {action.shape}; this environment takes {self.action_space.shape}.")
        if np.isnan(action).any():
            raise ValueError(f"The action holds NaN: {action}. The policy has probably diverged.")
        return np.clip(action, -1.0, 1.0)

    def _info(self, frames: int) -> dict[str, Any]:
        return {"physics": np.array(self.physics.get_state(), np.float64), "frames": frames}

    def _random_dict(self) -> dict[str, Any]:
        _, key, pos, has_gauss, gauss = self.random_state.get_state()
        return {"key": key, "pos": int(pos), "has_gauss": int(has_gauss), "gauss": float(gauss)}
