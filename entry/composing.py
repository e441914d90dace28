"""Hydra, asked what a command line comes to before anything is started: it is the only one that parses and composes."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import yaml
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entry.loader import taking_over, to_words
from entry.taken_over import SNAPSHOT
from entry.unknown_key import check_sections
from utils.config import CONFIGS, configs_of, to_plain
from utils.errors import UserError

REFUSALS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError, RecursionError)
"""What Hydra raises for a command line, or a file of the user's own, that it makes no configuration of."""


class Composed(NamedTuple):
    """What Hydra makes of a command line."""

    jobs: list[DictConfig]
    """With the section ``hydra``. Of a sweep, the first job, and one for every other option of a group."""
    sweep: bool

    @property
    def choices(self) -> dict[str, str]:
        """See :func:`choices_of`; of the first job."""
        return choices_of(self.jobs[0].hydra.runtime.choices)


def choices_of(choices: Mapping[str, Any]) -> dict[str, str]:
    """Which file of each configuration group was chosen, without Hydra's own."""
    return {key: str(value) for key, value in choices.items() if not key.startswith("hydra/")}


def read_words(arguments: Sequence[str], *, sorted_by_us: bool = False) -> argparse.Namespace:
    """The words of a command line as Hydra's own argument parser sorts them: ``overrides``, and its flags.

    With ``sorted_by_us`` flags may stand between overrides. Raises :class:`UserError` for flags that Hydra has not.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}. Flags such as --multirun come before the first key=value; --help names them.")

    parser.error = refuse  # type: ignore[method-assign]
    read = parser.parse_intermixed_args if sorted_by_us else parser.parse_args
    return read(list(arguments))


@contextmanager
def hydra_for(script: str, asked: argparse.Namespace) -> Iterator[Hydra]:
    """The Hydra that the script with the configuration ``script`` starts for a command line, with its search path."""
    with initialize_config_dir(str(configs_of(script)), version_base="1.3"):  # puts back at its end what is there now
        GlobalHydra.instance().clear()
        own = asked.config_path or str(configs_of(script))
        path = create_automatic_config_search_path(str(CONFIGS.parent / "script.py"), None, own)
        if asked.config_dir is not None:
            folder = os.path.abspath(asked.config_dir)
            if not os.path.isdir(folder):
                raise UserError(f"--config-dir {asked.config_dir}: there is no such folder. Name one that is there.")
            path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
        with taking_over(script):
            started = Hydra.create_main_hydra2(f"{script}_asked", path)
        yield started


def compose(script: str, asked: argparse.Namespace) -> Composed:
    """Everything that a command line starts. Raises one of :data:`REFUSALS`, as Hydra will, or :class:`UserError`."""
    composed = _compose(script, asked)
    for job in composed.jobs:
        check_sections(script, job)
    return composed


def _compose(script: str, asked: argparse.Namespace) -> Composed:
    name = asked.config_name or script
    with hydra_for(script, asked) as hydra:
        sweep = asked.multirun
        try:
            master = hydra.compose_config(name, asked.overrides, RunMode.MULTIRUN if sweep else RunMode.RUN)
        except HydraException:
            if sweep or hydra.get_mode(name, asked.overrides) != RunMode.MULTIRUN:
                raise
            sweep = True  # a configuration says so
            master = hydra.compose_config(name, asked.overrides, RunMode.MULTIRUN)
        if not sweep and master.hydra.mode != RunMode.MULTIRUN:
            return Composed([master], sweep=False)
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        return Composed([loader.load_sweep_config(master, job) for job in _jobs(loader, master)], sweep=True)


def parsed(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Overrides by Hydra's grammar; ``loader`` knows the options that a ``glob`` stands for.

    Raises HydraException, or ValueError for numbers of thousands of digits.
    """
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def _jobs(loader: ConfigLoaderImpl, master: DictConfig) -> list[list[str]]:
    """Overrides of the first job of a sweep, and of those that differ from it in one of the files they are made of.

    Of a sweeper that looks for values itself, a job without them.
    """
    words = to_words(master)
    params = master.hydra.sweeper.get("params") or {}
    first: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for override in parsed([*(f"{key}={value}" for key, value in params.items()), *words], loader):
        key = override.get_key_element()
        if not override.is_sweep_override():
            first[key] = f"{key}={override.get_value_element_as_str()}"
        elif override.is_discrete_sweep():
            values = (f"{key}={value}" for value in override.sweep_string_iterator())
            first[key] = next(values, f"{key}=")
            if override.key_or_group == SNAPSHOT or loader.repository.group_exists(override.key_or_group):
                others += [(key, value) for value in values]
    return [list(first.values()), *(list((first | {key: value}).values()) for key, value in others)]


def plain(job: DictConfig) -> dict[str, Any]:
    """The settings of a job in plain form, as its script will have them. Raises OmegaConfBaseException."""
    with known_to_hydra(job):
        return to_plain(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]))


@contextmanager
def known_to_hydra(job: DictConfig) -> Iterator[None]:
    """In the block ``${hydra:...}`` is what it will be in the job."""
    with hydra_put_back():
        HydraConfig.instance().set_config(job)
        yield


@contextmanager
def hydra_put_back() -> Iterator[None]:
    """After the block ``${hydra:...}`` is what it was before: Hydra does not see to it where a job cannot begin."""
    known = HydraConfig.instance()
    before = known.cfg
    try:
        yield
    finally:
        known.cfg = before


class Places:
    """Where a command line has Hydra look for configurations, and what is there."""

    def __init__(self, hydra: Hydra, script: str, asked: argparse.Namespace) -> None:
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        self.loader = loader
        self.name: str = asked.config_name or script
        """Of the configuration."""
        self.searched = [word for word in asked.overrides if word.lstrip("+").startswith("hydra.searchpath=")]
        """Overrides that name places."""
        _, self._repository = loader._parse_overrides_and_create_caching_repo(self.name, self.searched)

    def options(self, group: str) -> list[str]:
        """The options of a group; empty where there is no such group."""
        return sorted(self._repository.get_group_options(group, ObjectType.CONFIG))

    @property
    def groups(self) -> list[str]:
        """The groups there are."""
        return self._repository.get_group_options("", ObjectType.GROUP)
