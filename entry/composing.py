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
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from entry.loader import taking_over, to_words
from entry.taken_over import SNAPSHOT
from entry.unknown_key import check_sections
from entry.words import Jobs, jobs_of, parsed
from utils.config import CONFIGS, configs_of, to_plain
from utils.errors import UserError

REFUSALS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError, RecursionError)
"""What Hydra raises for a command line, or a file of the user's own, that it makes no configuration of."""


class Composed(NamedTuple):
    """What Hydra makes of a command line."""

    jobs: list[DictConfig]
    """With the section ``hydra``. Of a sweep all, or those that :func:`entry.words.jobs_of` has chosen."""
    sweep: bool
    known: Jobs = Jobs([], False, ())
    """Of a sweep, the overrides of these jobs."""

    @property
    def choices(self) -> dict[str, str]:
        """See :func:`choices_of`; of the first job."""
        return choices_of(self.jobs[0].hydra.runtime.choices)


class Refused(NamedTuple):
    """Jobs of a sweep that Hydra makes no configuration of."""

    known: Jobs
    faults: list[tuple[int, Exception]]


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
    """Everything that a command line starts. Raises one of :data:`REFUSALS`, as Hydra will, or :class:`UserError`;
    where it is jobs of a sweep that are refused, that of the first, with an attribute ``refused`` that has all.
    """
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
        known, jobs = _jobs(loader, master), []
        faults: list[tuple[int, Exception]] = []
        for number, words in enumerate(known.words):
            try:
                jobs.append(loader.load_sweep_config(master, words))
            except (*REFUSALS, UserError) as error:
                faults.append((number, error))
                continue
            with read_write(jobs[-1].hydra), open_dict(jobs[-1].hydra):
                jobs[-1].hydra.job.num = jobs[-1].hydra.job.id = number
        if faults:
            faults[0][1].refused = Refused(known, faults)  # type: ignore[attr-defined]  # for the message
            raise faults[0][1]
        return Composed(jobs, True, known)


def _jobs(loader: ConfigLoaderImpl, master: DictConfig) -> Jobs:
    params = master.hydra.sweeper.get("params") or {}
    given = parsed([*(f"{key}={value}" for key, value in params.items()), *to_words(master)], loader)
    basic = master.hydra.runtime.choices.get("hydra/sweeper") == "basic"
    return jobs_of(given, lambda key: key == SNAPSHOT or loader.repository.group_exists(key), basic)


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
