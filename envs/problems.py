"""How an environment is held to the contract of :mod:`envs.contract`: a line for all that is missing or wrong."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapters import longest_episode
from envs.checks import is_whole

STEPS = 4
"""Steps before and after the state that is saved and restored."""
PLAIN = (bool, int, float, str, type(None))


class Wanted(NamedTuple):
    """What the factory was asked for."""

    obs_type: str
    image_size: int


def problems(env: Any, other: Any = None, wanted: Wanted | None = None) -> Iterator[str]:
    """A line for everything in which ``env`` breaks the contract; see :func:`envs.contract.check_env`."""
    if not isinstance(env, gymnasium.Env):
        yield f"it is a {type(env).__name__}, no gymnasium.Env"
        return
    shapes = [*_observations(env, wanted), *_actions(env)]
    yield from shapes
    yield from _length(env)
    missing = [name for name in ("get_state", "set_state") if not callable(getattr(env, name, None))]
    for name in missing:
        yield f"{name} is missing (of the outermost layer); envs.replayed.ReplayedEnv has it"
    if shapes:
        return  # it cannot be stepped
    if not missing:  # first, as long as both are fresh
        yield from _attempt(lambda: _restoring(env, other))
    yield from _attempt(lambda: _stepping(env))
    if _is_image(env):
        yield from _attempt(lambda: _picture(env))


def _attempt(check: Callable[[], Iterator[str]]) -> Iterator[str]:
    """The lines of ``check``, and one if the environment raises meanwhile."""
    try:
        yield from check()
    except Exception as error:  # whatever the environment raises
        yield told(error)


def told(error: BaseException) -> str:
    """Kind, text and place of an error of someone else's code, in one line."""
    text = " ".join(str(error).split())
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = "" if last is None else f" ({last.tb_frame.f_code.co_filename}, line {last.tb_lineno})"
    return f"{type(error).__name__}: {text}{place}"


def _is_image(env: gymnasium.Env) -> bool:
    return len(env.observation_space["observation"].shape) == 3  # type: ignore[index]


def _observations(env: gymnasium.Env, wanted: Wanted | None) -> Iterator[str]:
    space = getattr(env, "observation_space", None)
    if not isinstance(space, spaces.Dict) or "observation" not in space.spaces:
        yield f"observation_space={space}: it must be a Dict with the key observation (see envs.adapters)"
        return
    box = space["observation"]
    form = (box.shape, box.dtype) if isinstance(box, spaces.Box) and box.shape is not None else None
    image = form is not None and len(form[0]) == 3 and form == ((3, form[0][1], form[0][1]), np.uint8)
    states = form is not None and len(form[0]) == 1 and form[1] == np.float32
    if not (image or states):
        yield f"observation_space[observation]={box}: it must be a Box, uint8 (3, S, S) or float32 (D,)"
    elif wanted is not None and wanted.obs_type == "pixels" and box.shape != (3, wanted.image_size, wanted.image_size):
        asked = f"(3, {wanted.image_size}, {wanted.image_size})"
        yield f"observation_space[observation] is {box.shape}; obs_type=pixels, image_size={wanted.image_size}: {asked}"
    elif wanted is not None and wanted.obs_type == "states" and image:
        yield f"observation_space[observation] is {box.shape}; obs_type=states: float32 (D,)"


def _actions(env: gymnasium.Env) -> Iterator[str]:
    box = getattr(env, "action_space", None)
    fits = isinstance(box, spaces.Box) and box.dtype == np.float32 and box.shape is not None and len(box.shape) == 1
    if not fits or not ((box.low == -1).all() and (box.high == 1).all()):  # type: ignore[union-attr]
        yield f"action_space={box}: it must be Box(-1, 1, (A,), float32); envs.adapters.ScaledActions maps to another"


def _length(env: gymnasium.Env) -> Iterator[str]:
    longest = longest_episode(env)
    if not is_whole(longest) or longest <= 0:  # type: ignore[operator]
        yield f"max_episode_steps={longest}: it must be the steps of the longest episode, a whole number above 0"


def _stepping(env: gymnasium.Env) -> Iterator[str]:
    """Observations, rewards, ends and infos are what the spaces say; arrays that were returned stay as they are."""
    observation, info = env.reset()
    kept, copies = [observation["observation"]], [np.array(observation["observation"])]
    sizes = {_physics_size(info)}
    for action in _random_actions(env):
        observation, reward, terminated, truncated, info = env.step(action)
        kept.append(observation["observation"])
        copies.append(np.array(observation["observation"]))
        sizes.add(_physics_size(info))
        if not _is_finite(reward):
            yield f"the reward {reward!r} is no finite number"
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            if type(value) not in (bool, np.bool_):
                yield f"{name}={value!r} is no bool"
        if terminated or truncated:
            break
    box = env.observation_space["observation"]  # type: ignore[index]
    outside = next((value for value in kept if not isinstance(value, np.ndarray) or value not in box), None)
    if outside is not None:
        form = f"{getattr(outside, 'dtype', type(outside).__name__)} {np.shape(outside)}"
        yield f"an observation, {form}, does not lie in observation_space[observation]={box}"
    if any(not np.array_equal(value, copy) for value, copy in zip(kept, copies, strict=True)):
        yield "an observation that was returned changed in a later step: return a copy"
    if len(sizes) > 1 or -1 in sizes:
        yield 'info["physics"] must be a float64 array (P,) of one size, with every reset and step or never'


def _is_finite(reward: Any) -> bool:
    return np.ndim(reward) == 0 and np.asarray(reward).dtype.kind in "iufb" and bool(np.isfinite(reward))


def _physics_size(info: dict[str, Any]) -> int | None:
    if "physics" not in info:
        return None
    value = info["physics"]
    fits = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float64
    return len(value) if fits else -1


Moment = tuple[Any, ...]
"""Observation, reward, terminated, truncated and simulator state of one step."""


def _restoring(env: Any, other: Any) -> Iterator[str]:
    """What is saved in ``env``, before its first episode and within its second, goes on as it did, in ``env`` and in
    ``other``; both are fresh.
    """
    actions = _random_actions(env)
    before = env.get_state()
    first = _play(env, actions[:STEPS], begin=True)
    second = _play(env, actions[:STEPS], begin=True)
    middle = env.get_state()
    rest = [] if _ended(second) else _play(env, actions[STEPS:], begin=False)
    third = _play(env, actions[:STEPS], begin=True)
    if not all(isinstance(state, dict) and _is_plain(state) for state in (before, middle)):
        yield "get_state() must be a dict of plain values, NumPy arrays, and lists and dicts of these"
        return
    if other is not None:
        yield from _differing(_play(other, actions[:STEPS], begin=True), first, "in another instance of the same seed")
    for instance, where in ((env, "itself"), (other, "another instance")):
        if instance is None:
            continue
        instance.set_state(before)
        again = _play(instance, actions[:STEPS], begin=True)
        yield from _differing(again, first, f"restored before an episode, in {where}")
        seen = instance.set_state(middle)
        if not _ended(second):
            if not isinstance(seen, dict) or "observation" not in seen:
                yield f"set_state() in {where} must return the present observation"
            elif not _same(seen["observation"], second[-1][0]):
                yield f"restored within an episode, in {where}, the observation is another"
            again = _play(instance, actions[STEPS:], begin=False)
            yield from _differing(again, rest, f"restored within an episode, in {where}")
        again = _play(instance, actions[:STEPS], begin=True)
        yield from _differing(again, third, f"restored, then in the next episode, in {where}")


def _random_actions(env: gymnasium.Env) -> np.ndarray:
    """(2 STEPS, A), always the same."""
    shape = (2 * STEPS, *env.action_space.shape)  # type: ignore[misc]
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _play(env: gymnasium.Env, actions: np.ndarray, *, begin: bool) -> list[Moment]:
    """The steps of ``actions``, up to the end of the episode; after a reset if ``begin``, which comes first."""
    moments: list[Moment] = []
    if begin:
        observation, info = env.reset()
        moments.append((np.array(observation["observation"]), 0.0, False, False, info.get("physics")))
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action.copy())
        physics = np.array(info["physics"]) if "physics" in info else None
        moments.append((np.array(observation["observation"]), float(reward), terminated, truncated, physics))
        if _ended(moments):
            break
    return moments


def _ended(moments: list[Moment]) -> bool:
    return bool(moments[-1][2] or moments[-1][3])


def _differing(found: list[Moment], expected: list[Moment], when: str) -> Iterator[str]:
    """The first thing that is not the same, bit for bit."""
    names = ("observation", "reward", "terminated", "truncated", 'info["physics"]')
    for step, (one, two) in enumerate(zip(found, expected, strict=False)):
        for name, a, b in zip(names, one, two, strict=True):
            if not _same(a, b):
                yield f"{when}, {name} differs after {step} steps: the environment does not repeat itself exactly"
                return
    if len(found) != len(expected):
        yield f"{when}, the episode has another length"


def _same(a: Any, b: Any) -> bool:
    """Bit for bit, NaN included."""
    return (a is None and b is None) or np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold ``value``, and loads it without running any code."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else type(value) in PLAIN


def _picture(env: gymnasium.Env) -> Iterator[str]:
    env.reset()
    views = {"render()": env.render()}
    if env.has_wrapper_attr("render_at"):
        views["render_at(32)"] = env.get_wrapper_attr("render_at")(32)
    for call, view in views.items():
        if not isinstance(view, np.ndarray) or view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3:
            form = f"{getattr(view, 'dtype', type(view).__name__)} {np.shape(view)}"  # type: ignore[arg-type]
            yield f"{call} gives {form}: it must be uint8 (H, W, 3)"
        elif call != "render()" and view.shape != (32, 32, 3):
            yield f"{call} gives {view.shape}: it must be (32, 32, 3)"
