"""A point that is pushed about in a maze: one as a Gymnasium environment, or many at once in NumPy.

The mazes of ReST (Jiang et al. 2022, "Unsupervised Skill Discovery via Recurrent Skill Training"): the point has a
position and a velocity, its action is an acceleration, its speed is limited, and walls stop it.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from envs.autoreset import Stepped, check_number, checked_action
from envs.maze_layout import Layout
from envs.maze_walls import Floats
from envs.replayed import episode_seed
from envs.vector import env_seed

OBSERVED = 4
"""x, y, v_x, v_y."""
ACTIONS = 2
FPS = 10
"""Steps in a second of a video: a step has no duration of its own."""


def pushed(layout: Layout, place: Floats, velocity: Floats, action: NDArray[Any]) -> tuple[Floats, Floats]:
    """Places and velocities (n, 2) one step after ``place`` and ``velocity`` (n, 2).

    Semi-implicit Euler with a time step of 1: v' = v + a, shortened to the largest speed; x' = x + v'. A wall on that
    way stops the point: it stays there with velocity 0. ``action`` (n, 2) is clipped to [-1, 1] and counts in units of
    the largest acceleration.
    """
    pushed = velocity + layout.max_acceleration * np.clip(action.astype(np.float64), -1.0, 1.0)
    speed = np.sqrt((pushed**2).sum(1))
    pushed = pushed * np.minimum(1.0, layout.max_speed / np.maximum(speed, layout.max_speed))[:, None]
    place, stopped = layout.barrier.moved(place, pushed)
    return place, np.where(stopped[:, None], 0.0, pushed)


def observed(place: Floats, velocity: Floats) -> NDArray[np.float32]:
    """(n, 4)."""
    return np.concatenate([place, velocity], 1).astype(np.float32)


def picture(layout: Layout, place: Floats, size: int) -> NDArray[np.uint8]:
    """The maze with the point at ``place`` (2,), (size, size, 3); x to the right, y up."""
    fine = 4 * size  # drawn larger, then averaged: smooth edges
    image = Image.new("RGB", (fine, fine), "white")
    draw = ImageDraw.Draw(image)

    def at(point: Floats) -> tuple[float, float]:
        x, y = 0.03 + 0.94 * np.asarray(point)
        return float(x * fine), float((1.0 - y) * fine)

    for wall in layout.segments:
        draw.line([at(end) for end in wall], "#333333", max(1, fine // 100))
    (x, y), radius = at(place), fine / 50
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], "#c03000")
    return np.array(image.resize((size, size), Image.Resampling.BOX))


class MazeEnv(gymnasium.Env):
    """A point in the maze ``layout``.

    Observations are float32 (x, y, v_x, v_y), actions float32 (a_x, a_y) in [-1, 1], in units of the largest
    acceleration; rewards are 0. An episode is truncated after ``layout.steps`` and never terminates. All that is random
    is where it begins. ``info["position"]``: x and y, float64 (2,).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FPS}
    render_mode = "rgb_array"

    def __init__(self, layout: Layout, image_size: int = 256) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
        self.layout, self.max_episode_steps, self._image_size = layout, layout.steps, image_size
        self._place, self._velocity, self._steps = np.zeros((1, 2)), np.zeros((1, 2)), 0

    @property
    def place(self) -> Floats:
        """x and y, (2,)."""
        return self._place[0].copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; ``seed`` decides where it and those after it begin. ``options`` are not used."""
        super().reset(seed=seed)
        self._place = self.layout.begin(self.np_random)[None]
        self._velocity, self._steps = np.zeros((1, 2)), 0
        return observed(self._place, self._velocity)[0], {"position": self.place}

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step by ``action`` (2,). Raises ValueError if it has another shape or is not finite."""
        self._place, self._velocity = pushed(
            self.layout, self._place, self._velocity, checked_action(action, (ACTIONS,))[None]
        )
        self._steps += 1
        truncated = self._steps >= self.layout.steps
        return observed(self._place, self._velocity)[0], 0.0, False, truncated, {"position": self.place}

    def render(self) -> NDArray[np.uint8]:
        """(image_size, image_size, 3)."""
        return picture(self.layout, self.place, self._image_size)


class MazeVector:
    """n points in the maze ``layout``, none of which is in another's way: see :class:`envs.autoreset.AutoresetVector`.

    The same numbers, bit for bit, as n times :class:`MazeEnv` in a :class:`envs.autoreset.SerialVector`, in a small
    part of the time.
    """

    observed, actions, render_fps = OBSERVED, ACTIONS, FPS

    def __init__(self, layout: Layout, num_envs: int, seed: int = 1, image_size: int = 256) -> None:
        self.layout, self.num_envs, self._image_size = layout, num_envs, image_size
        self._place, self._velocity = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self._running = False
        self._begin(seed)

    def reset(self, seed: int | None = None) -> NDArray[np.float32]:
        if seed is not None:
            self._begin(seed)
        if self._running:  # broken off
            self._episodes += 1
        self._start(np.ones(self.num_envs, bool))
        self._running = True
        return observed(self._place, self._velocity)

    def step(self, action: NDArray[np.float32]) -> Stepped:
        if not self._running:
            raise gymnasium.error.ResetNeeded("step() was called before reset(). Call reset() first.")
        action = checked_action(action, (self.num_envs, ACTIONS))
        self._place, self._velocity = pushed(self.layout, self._place, self._velocity, action)
        self._steps += 1
        truncated = self._steps >= self.layout.steps
        final, position = observed(self._place, self._velocity), self._place.copy()
        obs = final.copy()
        if truncated.any():
            self._episodes[truncated] += 1
            self._start(truncated)
            obs = observed(self._place, self._velocity)
        nothing = np.zeros(self.num_envs, np.float32)
        return Stepped(obs, nothing, np.zeros(self.num_envs, bool), truncated, final, {"position": position})

    def positions(self) -> Floats:
        return self._place.copy()

    def get_state(self) -> dict[str, Any]:
        return {
            "walls": self.layout.segments.copy(),
            "seed": self._seed,
            "running": self._running,
            "episodes": self._episodes.copy(),
            "steps": self._steps.copy(),
            "place": self._place.copy(),
            "velocity": self._velocity.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> NDArray[np.float32]:
        if not np.array_equal(state["walls"], self.layout.segments):
            raise ValueError("The state is of a maze with other walls.")
        check_number(len(state["steps"]), self.num_envs)
        self._seed, self._running = int(state["seed"]), bool(state["running"])
        self._episodes, self._steps = np.array(state["episodes"], np.int64), np.array(state["steps"], np.int64)
        self._place, self._velocity = np.array(state["place"], np.float64), np.array(state["velocity"], np.float64)
        return observed(self._place, self._velocity)

    def render(self, index: int = 0) -> NDArray[np.uint8]:
        return picture(self.layout, self._place[index], self._image_size)

    def close(self) -> None:
        self._running = False

    def _begin(self, seed: int) -> None:
        """The first episodes of ``seed`` come next."""
        self._seed, self._running = seed, False
        self._episodes, self._steps = np.zeros(self.num_envs, np.int64), np.zeros(self.num_envs, np.int64)

    def _start(self, which: NDArray[np.bool_]) -> None:
        """Puts the points ``which`` (n,) to the start of their episodes."""
        for index in np.flatnonzero(which):
            drawn = episode_seed(env_seed(self._seed, int(index)), int(self._episodes[index]))
            self._place[index] = self.layout.begin(np.random.default_rng(drawn))
        self._velocity[which] = 0.0
        self._steps[which] = 0
