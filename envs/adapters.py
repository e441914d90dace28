"""Small wrappers between Gymnasium's usual forms and the contract of :mod:`envs.contract`, and all of them at once."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from envs.checks import check_image_size, check_obs_type, check_positive
from envs.replayed import ReplayedEnv
from utils.errors import UserError


def adapt(
    env: gymnasium.Env,
    *,
    obs_type: str = "pixels",
    action_repeat: int = 1,
    seed: int = 0,
    image_size: int = 64,
    max_episode_steps: int | None = None,
) -> gymnasium.Env:
    """``env`` in the form that training asks for: actions in [-1, 1], action repeat, save and restore, and a dict with
    pixels or states.

    Args:
        env: Box actions with finite bounds; deterministic given ``reset(seed=...)``. For pixels it was made with
            ``render_mode="rgb_array"``, for states it has a Box observation.
        obs_type: ``pixels``: what ``env.render()`` shows, uint8 (3, image_size, image_size); ``states``: the Box
            observation, float32 (D,).
        action_repeat: steps of ``env`` per step of the result, whose reward is their sum.
        seed: decides every episode.
        image_size: side of the image in pixels; a picture that is not square is squeezed.
        max_episode_steps: steps of ``env`` in the longest episode; None takes ``env.spec.max_episode_steps``.

    Raises:
        UserError: ``env`` cannot be brought into that form; says what it lacks.
    """
    check_obs_type(obs_type)
    check_positive("action_repeat", action_repeat)
    repeated = RepeatedActions(ScaledActions(env), action_repeat, max_episode_steps)
    replayed = ReplayedEnv(repeated, seed)
    return PixelObservation(replayed, image_size) if obs_type == "pixels" else StateObservation(replayed)


def longest_episode(env: gymnasium.Env) -> int | None:
    """Steps of the longest episode: the attribute ``max_episode_steps`` of the outermost layer of ``env`` that has
    one, else what its ``spec`` says; None where neither is.
    """
    if env.has_wrapper_attr("max_episode_steps"):
        return env.get_wrapper_attr("max_episode_steps")
    return None if env.spec is None else env.spec.max_episode_steps


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """``picture``, uint8 (H, W, 3), at (size, size, 3): every pixel the mean of the area it covers, or a copy of the
    nearest one where the picture grows.
    """
    if picture.shape[:2] == (size, size):
        return np.array(picture)
    smooth = Image.Resampling.BOX if min(picture.shape[:2]) > size else Image.Resampling.NEAREST
    return np.array(Image.fromarray(picture).resize((size, size), smooth))


class ScaledActions(gymnasium.ActionWrapper):
    """Takes float32 actions in [-1, 1], clips them to it and maps them affinely to the Box of ``env``."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        box = env.action_space
        if not isinstance(box, spaces.Box) or not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
            raise UserError(f"the action space {box} is no Box with finite bounds. Only such actions can be scaled.")
        self._box = box
        self.action_space = spaces.Box(-1.0, 1.0, box.shape, np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """(A,) in [-1, 1] -> (A,) in the range of ``env``."""
        low, high = self._box.low.astype(np.float64), self._box.high.astype(np.float64)
        native = low + (np.clip(action, -1.0, 1.0).astype(np.float64) + 1.0) * 0.5 * (high - low)
        # rounding may exceed the range by one unit in the last place
        return np.clip(native, low, high).astype(self._box.dtype)


class RepeatedActions(gymnasium.Wrapper):
    """Holds every action for ``count`` steps of ``env``, fewer at the end of an episode, and sums their rewards."""

    def __init__(self, env: gymnasium.Env, count: int, max_episode_steps: int | None = None) -> None:
        super().__init__(env)
        self._count = count
        longest = longest_episode(env) if max_episode_steps is None else max_episode_steps
        self.max_episode_steps = None if longest is None else -(-longest // count)
        """Of this wrapper: the last one may be shorter."""

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self._count):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class _Observed(gymnasium.Wrapper):
    """Puts another observation in place of that of ``env``, whose save and restore it hands on."""

    def __init__(self, env: gymnasium.Env, box: spaces.Box) -> None:
        super().__init__(env)
        self.observation_space = spaces.Dict(observation=box)

    def seen(self, observation: Any) -> dict[str, np.ndarray]:
        """What stands in place of ``observation``."""
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self.seen(observation), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self.seen(observation), reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        return self.env.get_state()  # type: ignore[attr-defined]

    def set_state(self, state: dict[str, Any]) -> dict[str, np.ndarray] | None:
        observation = self.env.set_state(state)  # type: ignore[attr-defined]
        return None if observation is None else self.seen(observation)


class PixelObservation(_Observed):
    """Observations are the pictures of ``env``: ``{"observation": uint8 (3, image_size, image_size)}``."""

    def __init__(self, env: gymnasium.Env, image_size: int) -> None:
        check_image_size(image_size)
        if env.render_mode != "rgb_array":
            raise UserError(
                f"render_mode={env.render_mode}: pixels need pictures. Make the environment with "
                'render_mode="rgb_array".'
            )
        super().__init__(env, spaces.Box(0, 255, (3, image_size, image_size), np.uint8))
        self._size = image_size

    def seen(self, observation: Any) -> dict[str, np.ndarray]:
        picture = resized(np.asarray(self.env.render()), self._size)
        return {"observation": np.ascontiguousarray(picture.transpose(2, 0, 1))}


class StateObservation(_Observed):
    """Observations are the numbers of ``env``: ``{"observation": float32 (D,)}``."""

    def __init__(self, env: gymnasium.Env) -> None:
        space = env.observation_space
        if not isinstance(space, spaces.Box):
            raise UserError(f"the observation space {space} is no Box. Flatten it with a wrapper of Gymnasium first.")
        super().__init__(env, spaces.Box(-np.inf, np.inf, (int(np.prod(space.shape)),), np.float32))

    def seen(self, observation: Any) -> dict[str, np.ndarray]:
        return {"observation": np.ravel(observation).astype(np.float32)}
