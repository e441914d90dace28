"""A run's replay as a data set in the format of ExORL, from which other agents can learn."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.run_folder import read_run
from envs.retrace import Retrace
from envs.settings import EnvironmentKeys, VariantKeys
from replay import exorl
from replay.layout import Layout, read_layout
from replay.stored import records_between
from training.parts import TRAIN_ENVS, env_arguments, env_sizes
from utils.errors import UserError
from utils.folders import check_writable
from utils.seeding import derive
from utils.settings import parse, pick

KEYS = ("action", "reward", "is_terminal", "physics")


class Exported(NamedTuple):
    """What :func:`export` has written."""

    episodes: int
    transitions: int


def export(
    folder: Path, out: Path, *, keep_repeat: bool = False, progress: Callable[[int, int], None] = lambda i, n: None
) -> Exported:
    """Write every finished episode that the checkpoint of the run in ``folder`` knows to ``out``, the oldest first.

    Observations are states: those of the replay, or of a run of pixels those that it would have seen, which are found
    by going through its episodes again (:mod:`envs.retrace`). A row is an agent step, so that ``keep_repeat`` says yes
    to a run whose actions are held for several control steps.

    Raises:
        UserError: no run with a checkpoint and a replay, one without what is needed, or a folder that holds something.
    """
    content = read_run(folder)
    settings = parse(VariantKeys, pick(VariantKeys, content["config"]))
    layout = read_layout(folder / "replay")
    _check_run(folder, settings, layout, keep_repeat)
    _check_out(out)
    episodes = sorted(content["replay"]["episodes"].tolist(), key=lambda row: (row[1], row[0]))
    if not episodes:
        raise UserError(f"{folder} has no finished episode yet. Wait for one and its checkpoint.")
    try:
        for index, arrays in enumerate(_episodes(folder / "replay", layout, settings, episodes)):
            if index == 0:  # nothing is left of an export that cannot begin
                out.mkdir(parents=True, exist_ok=True)
                exorl.write_about(out, about(folder, content, settings))
            exorl.write_episode(out, index, arrays)
            progress(index + 1, len(episodes))
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written ({error.strerror}). Choose another one.") from error
    return Exported(len(episodes), sum(length - 1 for _, _, length in episodes))


def about(folder: Path, content: Mapping[str, Any], settings: EnvironmentKeys) -> dict[str, Any]:
    """What the files themselves do not say."""
    return {
        "domain": settings.domain,
        "task": settings.task,
        "exorl": settings.exorl,
        "action_repeat": settings.action_repeat,
        "collected_from": settings.obs_type,
        "agent": content["config"].get("agent", {}).get("name"),
        "run": folder.resolve().name,
        "commit": content.get("commit"),
        "versions": dict(content["versions"]),
    }


def _check_run(folder: Path, settings: EnvironmentKeys, layout: Layout, keep_repeat: bool) -> None:
    if "physics" not in (layout.dtype.names or ()):
        raise UserError(
            f"{folder}: its replay holds no simulator states, which are part of the format. They are stored with "
            "replay.store_physics=true, where the environment gives them."
        )
    if settings.action_repeat != 1 and not keep_repeat:
        raise UserError(
            f"{folder} is a run with action_repeat={settings.action_repeat}, and the format has a row for every "
            "control step. Collect with action_repeat=1, or give --keep-repeat for a row per agent step."
        )
    if settings.obs_type == "pixels" and settings.env_factory is not None:
        raise UserError(
            f"{folder} has seen images of env_factory={settings.env_factory}, and states are rebuilt of this project's "
            "own tasks only. Collect with obs_type=states."
        )


def _check_out(out: Path) -> None:
    check_writable("OUT", str(out))
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty. Name a new folder.")


def _episodes(
    replay: Path, layout: Layout, settings: EnvironmentKeys, episodes: list[list[int]]
) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of every episode, in the format's shapes."""
    with ExitStack() as held:
        show = _Stored(layout) if settings.obs_type == "states" else _Rebuilt(settings, held)
        for env, start, length in episodes:
            found = records_between(replay / f"stream_{env}", layout, start, start + length, (*KEYS, *show.keys))
            yield {
                "observation": show(env, start, found),
                "action": found["action"],
                "reward": found["reward"][:, None],
                "discount": (~found["is_terminal"]).astype(np.float32)[:, None],
                "physics": found["physics"],
            }


class _Stored:
    """The observations of a run of states."""

    keys = ("observation",)

    def __init__(self, layout: Layout) -> None:
        if len(layout.dtype["observation"].shape) != 1:
            raise UserError("the replay's observations are no rows of numbers, which the format has.")

    def __call__(self, env: int, start: int, records: Mapping[str, np.ndarray]) -> np.ndarray:
        return records["observation"]


class _Rebuilt:
    """The states that a run of pixels would have seen."""

    keys = ()

    def __init__(self, settings: EnvironmentKeys, held: ExitStack) -> None:
        self._settings, self._held = settings, held
        self._longest = env_sizes(settings).steps + 1
        self._envs: dict[int, Retrace] = {}
        self._done: dict[int, int] = {}
        """Record up to which each environment was gone through."""

    def __call__(self, env: int, start: int, records: Mapping[str, np.ndarray]) -> np.ndarray:
        if env not in self._envs:
            seed = derive(self._settings.seed, TRAIN_ENVS)
            made = Retrace(self._settings.task, seed=seed, index=env, **env_arguments(self._settings))
            self._envs[env] = self._held.enter_context(closing(made))
        # those that are not stored any more; a few ended early
        resets = 10 * -(-(start - self._done.get(env, 0)) // self._longest)
        self._done[env] = start + len(records["physics"])
        return self._envs[env].episode(records["physics"], records["action"], resets)
