"""``snapshot=<file>``: agent, preset, task and sizes are the snapshot's where the command line says nothing else.

Hydra composes a command line that names a snapshot twice: first to know which file that is, then with what the file
stores put in front of the user's words, any of which wins.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydras
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from entry.stored import TAKEN
from entry.taken_over import SNAPSHOT, Words, of_run, of_snapshot
from utils.latest import AUTO

_known: dict[tuple, list[str]] = {}
"""What was read already: a command line is composed several times, and jobs of a sweep mostly ask for the same."""


@contextmanager
def taking_over(script: str) -> Iterator[None]:
    """In the block, what Hydra starts for the configuration ``script`` composes by :class:`TakingOver`."""
    before = hydras.ConfigLoaderImpl
    hydras.ConfigLoaderImpl = partial(TakingOver, script)  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        hydras.ConfigLoaderImpl = before  # type: ignore[misc]


class TakingOver(ConfigLoaderImpl):
    """Hydra's loader of configurations, for single jobs, sweeps and each of their jobs alike."""

    def __init__(self, script: str, config_search_path: Any) -> None:
        super().__init__(config_search_path)
        self.script = script

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *more: Any, **options: Any
    ) -> DictConfig:
        """As Hydra's; raises :class:`utils.errors.UserError`, too, for a snapshot that cannot be started from."""
        load = super().load_configuration

        def compose(words: Sequence[str]) -> DictConfig:
            return load(config_name, list(words), run_mode, *more, **options)

        found, refused = None, None
        try:
            found = compose(overrides)
        except HydraException as error:  # perhaps for want of the snapshot's agent
            refused = error
        taken = self._taken(config_name, overrides, run_mode, compose, found)
        if taken:
            return _with_words(compose([*taken, *overrides]), taken)
        if found is None:
            assert refused is not None
            raise refused
        return found

    def _taken(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, compose: Any, found: DictConfig | None
    ) -> list[str]:
        """The overrides that the snapshot of a command line stands for; none without one."""
        try:
            given, repository = self._parse_overrides_and_create_caching_repo(config_name, overrides)
            first = [self._first(one) for one in given] if run_mode == RunMode.MULTIRUN else given
            named = any(one.key_or_group == SNAPSHOT for one in given)
            if found is None or (first != given and (named or OmegaConf.select(found, SNAPSHOT) is not None)):
                found = compose([_line(one) for one in first if not one.key_or_group.startswith("agent.")])
            name, resume = OmegaConf.select(found, SNAPSHOT), OmegaConf.select(found, "resume")
            going_on = resume == AUTO and isinstance(name, str) and _going_on(found)
        except (HydraException, OmegaConfBaseException, ValueError):
            return []
        if not isinstance(name, str) or not name.strip() or resume not in (None, AUTO):
            return []
        searched = [_line(one) for one in given if one.key_or_group == "hydra.searchpath"]
        words = Words(
            self.script,
            {one.key_or_group: one.value() for one in first},
            lambda asked: compose([*asked, *searched]),
            lambda group: repository.get_group_options(group, ObjectType.CONFIG),
        )
        if going_on:
            return of_run(going_on, words)
        path = os.path.expanduser(name)
        if resume == AUTO and not os.path.exists(path):  # a job of a sweep, which may have begun
            return []
        if not os.path.isfile(path):
            return of_snapshot(name, words)  # says what is wrong
        state, places = os.stat(path), [(one.provider, one.path) for one in self.config_search_path.get_path()]
        file = (os.path.abspath(path), state.st_ino, state.st_mtime_ns, state.st_size)
        asked = (self.script, config_name, *file, repr((words.deciding, searched, places)))
        if asked not in _known:
            _known[asked] = of_snapshot(name, words)
        return _known[asked]

    def _first(self, found: Override) -> Override:
        """``found``, or of several values the first."""
        [known] = OverridesParser.create(config_loader=self).parse_overrides([_line(found)])
        if not known.is_discrete_sweep():
            return found
        value = next(iter(known.sweep_string_iterator()), "")
        [first] = OverridesParser.create().parse_overrides([f"{known.get_key_element()}={value}"])
        return first


def _going_on(job: DictConfig) -> Path | None:
    """The folder of the run that a single job with ``resume=auto`` goes on with."""
    from entry.run_folder import begins  # loads torch

    if job.hydra.mode == RunMode.MULTIRUN:
        return None
    folder = Path(os.path.expanduser(str(OmegaConf.select(job, "hydra.run.dir"))))
    return None if begins(AUTO, folder) else folder


def _with_words(job: DictConfig, taken: list[str]) -> DictConfig:
    """``job``, composed with ``taken`` in front, says what was taken over, and has the user's own words only."""
    words = to_words(job)[len(taken) :]
    given = OverridesParser.create().parse_overrides(words)
    ours = {one.key_or_group for one in given}
    with open_dict(job):
        job[TAKEN] = [word for word in taken if word.partition("=")[0] not in ours]
    with read_write(job.hydra):
        job.hydra.overrides.task = words
        job.hydra.job.override_dirname = get_overrides_dirname(given, **_names(job.hydra.job.config.override_dirname))
    return job


def to_words(job: DictConfig) -> list[str]:
    """The overrides of a command line, as they were written."""
    words = OmegaConf.to_container(job.hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _names(config: DictConfig) -> dict[str, Any]:
    return {key: config[key] for key in ("exclude_keys", "item_sep", "kv_sep")}


def _line(found: Override) -> str:
    return str(found.input_line)
