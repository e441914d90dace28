"""Configurations: where they lie, the resolvers they use, names of their keys."""

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from utils.advice import override
from utils.folders import will_make
from utils.latest import CONFIG_FILE, RUNS, latest_run
from utils.own_code import foreign_in, overrides
from utils.variant import variant

__all__ = ["CONFIG_FILE", "RUNS", "latest_run"]

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""Where the scripts' YAML lies: beside the packages, in the checkout or, installed without ``-e``, among the others."""


def configs_of(script: str) -> Path:
    """Where Hydra looks for ``<script>.yaml`` and its groups: a folder of its own where there is one.

    A group is a folder, so the scripts in one folder share their presets; those of ``drq_train.py`` are its own.
    """
    own = CONFIGS / script
    return own if own.is_dir() else CONFIGS


def unresolved(error: OmegaConfBaseException) -> str:
    """What OmegaConf says of a value that it cannot make out, in a line with the key, and the way out of a ``${...}``
    that was meant as text.
    """
    key, reason = getattr(error, "full_key", None), (str(error).strip() or type(error).__name__).splitlines()[0]
    named = f"{key}: {reason}" if key and not reason.startswith(f"{key}:") else reason
    if not isinstance(error, InterpolationKeyError):
        return named
    return f"{named}. Name a key that there is; in a text that has ${{ itself, write \\${{ and quote it."


_claimed: dict[str, str] = {}
_shown: list[str] = []


def _run_folder(resume: str | None, fresh: str, sweeps: str | None = None) -> str:
    """The folder of the run to resume; else ``fresh``, with a suffix when another process took it this very second.

    ``resume=latest`` looks where the fresh run's folder would be, two levels up, and in the folder ``sweeps``.
    """
    if resume == "latest":
        return str(latest_run(Path(fresh).parents[1], *([] if sweeps is None else [sweeps])))
    if resume is not None:
        return os.path.expanduser(resume)
    if _shown or not HydraConfig.initialized():  # no job begins: configurations are shown, or merged and may not stay
        return fresh
    if fresh not in _claimed:  # asked for several times in one process
        _claimed[fresh] = make_own(fresh)
    return _claimed[fresh]


def make_own(folder: str) -> str:
    """Make ``folder``, with a suffix where there is one: no two processes get the same. Returns its name."""
    candidates = (folder if number == 1 else f"{folder}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if _claim(Path(candidate)))


@contextmanager
def only_shown() -> Iterator[None]:
    """In the block no job begins (``--cfg``): folders are named, and not made."""
    _shown.append("configuration")
    try:
        yield
    finally:
        _shown.pop()


def _claim(folder: Path) -> bool:
    will_make(folder)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _store_agent_presets() -> None:
    """``configs/agent_presets.yaml`` as Hydra's group ``agent_preset``, whose options are ``<preset>_<agent>``.

    The defaults lists take ``${preset}_${agent}``, if there is one, after the preset; values of the command line come
    later still. A folder of the user's own may hold more of them, as files ``agent_preset/<preset>_<agent>.yaml``.
    """
    table: Any = OmegaConf.load(CONFIGS / "agent_presets.yaml")
    for agent, presets in table.items():
        for preset, keys in presets.items():
            ConfigStore.instance().store(f"{preset!s}_{agent!s}", keys, group="agent_preset", package="agent")


def _store_launchers() -> None:
    """``configs/launcher/*.yaml`` as options of Hydra's group ``hydra/launcher``, for every script alike."""
    for path in sorted((CONFIGS / "launcher").glob("*.yaml")):
        ConfigStore.instance().store(path.stem, OmegaConf.load(path), group="hydra/launcher")


_store_agent_presets()
_store_launchers()


def domain_of(env_factory: str | None, otherwise: str) -> str:
    """The domain of environments that ``env_factory`` makes, after its module: ``my_lab_envs`` for
    ``my_lab.envs.make``; ``otherwise`` without a factory.
    """
    if env_factory is None:
        return otherwise
    return str(env_factory).rpartition(".")[0].replace(".", "_") or "own"


def resume_words(folder: Path | str, config: Mapping[str, Any]) -> str:
    """The overrides to type for the run in ``folder`` to go on; they name the code of the user's own in ``config``."""
    return " ".join([override("resume", folder), *overrides(foreign_in(config))])


OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
# marks the folder that a sweep gets where the user names none; what starts the sweep makes it (entry/folders.py)
OmegaConf.register_new_resolver("sweep_folder", lambda fresh: fresh, replace=True)
# a folder for the snapshots of a job of a sweep that differs from the others in more than the keys named here
OmegaConf.register_new_resolver("variant", variant, replace=True)
OmegaConf.register_new_resolver("domain_of", domain_of, replace=True)
OmegaConf.register_new_resolver("without", lambda prefix, name: str(name).removeprefix(prefix), replace=True)
# an unknown ``value`` is refused where it is checked, so anything will do for it here
OmegaConf.register_new_resolver("per", lambda value, table: table.get(value, next(iter(table.values()))), replace=True)
OmegaConf.register_new_resolver("if", lambda condition, then, otherwise: then if condition else otherwise, replace=True)


def flatten(config: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of all leaves and inner nodes below ``config``, unresolved values untouched."""
    for key in config:
        name = f"{prefix}{key}"
        yield name
        node = OmegaConf.is_missing(config, key) if isinstance(config, DictConfig) else False
        child = None if node else (config._get_node(key) if isinstance(config, DictConfig) else config[key])
        if isinstance(child, DictConfig | dict) and not (isinstance(child, DictConfig) and child._is_interpolation()):
            yield from flatten(child, f"{name}.")


def to_plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as nested dicts, lists and values."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def get(config: Mapping[str, Any], dotted: str) -> Any:
    """``config["a"]["b"]`` for ``"a.b"``. Raises KeyError."""
    node: Any = config
    for part in dotted.split("."):
        node = node[part]
    return node


def has(config: Mapping[str, Any], dotted: str) -> bool:
    """Whether a configuration has a key."""
    try:
        get(config, dotted)
    except (KeyError, TypeError):
        return False
    return True


def put(config: dict[str, Any], dotted: str, value: Any) -> None:
    """``config["a"]["b"] = value`` for ``"a.b"``. Raises KeyError when there is no section ``a``."""
    section, _, last = dotted.rpartition(".")
    node = get(config, section) if section else config
    node[last] = value
