"""What training asks of an environment, and a check of it: ``python -m envs.contract my_package.make``.

An environment is a Gymnasium environment with

- **observations** ``{"observation": x}``: the space is a ``Dict`` with the key ``observation``, a ``Box`` of images,
  uint8 (3, S, S) with S the ``image_size`` asked for, or of states, float32 (D,). Other keys are not read. An array
  that was returned is not written to again;
- **actions** in a ``Box`` [-1, 1] of float32 (A,);
- **an episode length** that is known: the attribute ``max_episode_steps``, or ``spec.max_episode_steps``, says how many
  steps the longest episode has (agent steps, after action repeat). One that has not ended by then is truncated;
- **one seed**: the factory's ``seed`` decides everything that is random, over all episodes; ``reset()`` goes on;
- **save and restore**: ``get_state()`` gives all that is needed to go on exactly from here, as a dict of plain values
  (bool, int, float, str, None), NumPy arrays, and lists and dicts of these; between episodes and before the first, too.
  ``set_state(state)``, also of another instance, goes back to it and returns the present observation, or None if no
  episode was running: ``reset()`` comes next. :class:`envs.replayed.ReplayedEnv` adds both to what repeats itself;
- **a picture**: ``render()`` gives the present view, uint8 (H, W, 3). Where a larger one can be drawn,
  ``render_at(size)`` gives it, uint8 (size, size, 3); without it pictures are resized. States need it for
  videos only;
- **simulator states**, if there are any: ``info["physics"]`` of ``reset`` and ``step``, float64 (P,).

:mod:`envs.adapters` brings common environments into this form. The factory is called as ``make(task, obs_type=...,
action_repeat=..., seed=..., image_size=..., render_quality=...)``.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium

from envs.adapters import longest_episode
from envs.checks import OBS_TYPES, check_image_size, check_positive
from envs.problems import Wanted, problems, told
from utils.errors import UserError, exit_status

Factory = Callable[..., gymnasium.Env]


class Sizes(NamedTuple):
    """What is planned with before any environment of a run is made."""

    actions: int
    """Numbers in an action, A."""
    state: int | None
    """Numbers in ``info["physics"]``, P; None without."""
    steps: int
    """Of the longest episode."""


def check_env(env: gymnasium.Env, other: gymnasium.Env | None = None, wanted: Wanted | None = None) -> Sizes:
    """Looks at ``env``, steps it a little, saves and restores it; afterwards it is of no more use.

    Args:
        other: another instance, made alike: it has to begin as ``env`` does, and saved states are restored in it, too.
        wanted: what the observations have to be; None takes what they are.

    Raises:
        UserError: names everything that is missing or wrong, a line each.
    """
    lines = (" ".join(line.split()) for line in problems(env, other, wanted))
    found = dict.fromkeys(lines)  # one fault may show in several ways
    if found:
        raise UserError("the environment lacks what training asks for (envs/contract.py):\n  - " + "\n  - ".join(found))
    _, info = env.reset()
    state = len(info["physics"]) if "physics" in info else None
    return Sizes(env.action_space.shape[0], state, longest_episode(env))  # type: ignore[index, arg-type]


def load_factory(path: str) -> Factory:
    """The function ``package.module.function``.

    Raises:
        UserError: it cannot be imported, or called.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise UserError(
            f"env_factory={path} cannot be imported ({told(error)}). Name package.module.function; the folder that "
            f"holds the package has to be on PYTHONPATH."
        ) from error
    if not callable(found):
        raise UserError(f"env_factory={path} is a {type(found).__name__}, no function that makes an environment.")
    return found


def sizes(path: str, task: str, **settings: Any) -> Sizes:
    """The sizes of the environment that the factory ``path`` makes; it is held to the contract for that.

    Two instances are made for it, once in a process.

    Raises:
        UserError: as :func:`made`, or the environment breaks the contract; names all that is missing.
    """
    return _looked_at(path, task, **settings)[0]


def observation_shape(path: str, task: str, **settings: Any) -> tuple[int, ...]:
    """(3, S, S) or (D,): of the observations of that environment. Raises as :func:`sizes`."""
    return _looked_at(path, task, **settings)[1]


@lru_cache(maxsize=8)
def _looked_at(path: str, task: str, **settings: Any) -> tuple[Sizes, tuple[int, ...]]:
    with closing(made(path, task, settings)) as env, closing(made(path, task, settings)) as other:
        try:
            found = check_env(env, other, Wanted(settings["obs_type"], settings["image_size"]))
        except UserError as error:
            raise UserError(f"env_factory={path}: {error}") from error
        return found, env.observation_space["observation"].shape  # type: ignore[index]


def made(path: str, task: str, settings: Mapping[str, Any]) -> gymnasium.Env:
    """What the factory ``path`` gives, whether or not it keeps the contract.

    Raises:
        UserError: the factory cannot be imported, does not take these settings, raises, or gives no environment.
    """
    factory = load_factory(path)
    try:
        inspect.signature(factory).bind(task, **settings)
    except ValueError:  # what is not written in Python may not tell
        pass
    except TypeError as error:
        call = ", ".join(("task", *(f"{key}=..." for key in settings)))
        raise UserError(
            f"env_factory={path}: {error}. It is called with ({call}); **_ at its end takes what it has no use for."
        ) from error
    try:
        env = factory(task, **settings)
    except UserError:
        raise
    except Exception as error:  # whatever the author's code raises
        raise UserError(f"env_factory={path}: making task={task} failed: {told(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"env_factory={path} gave a {type(env).__name__}, no gymnasium.Env.")
    return env


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what training will see of the environment, or all that is missing."""
    parser = argparse.ArgumentParser("python -m envs.contract", description="Holds an environment to the contract.")
    parser.add_argument("factory", metavar="my_package.make")
    parser.add_argument("--task", default="none", help="what the factory is called with (default: none)")
    parser.add_argument("--obs-type", default="pixels", choices=OBS_TYPES)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--action-repeat", type=int, default=2)
    asked = parser.parse_args(arguments)
    check_image_size(asked.image_size)
    check_positive("action_repeat", asked.action_repeat)
    settings = {"obs_type": asked.obs_type, "action_repeat": asked.action_repeat, "image_size": asked.image_size}
    found = sizes(asked.factory, asked.task, seed=1, render_quality="full", **settings)
    shape = observation_shape(asked.factory, asked.task, seed=1, render_quality="full", **settings)
    print(
        f"{asked.factory} keeps the contract: {asked.obs_type} {shape}, {found.actions} numbers in an action, at most "
        f"{found.steps} steps in an episode, {found.state or 'no'} numbers in a simulator state"
    )


if __name__ == "__main__":
    sys.exit(main())
