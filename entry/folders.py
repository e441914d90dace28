"""The folders that a command line names: where a run goes on, and the home directory in them."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from entry.composing import known_to_hydra
from utils.advice import in_hydra, in_quotes, literal
from utils.config import make_own
from utils.errors import UserError
from utils.latest import AUTO, CONFIG_FILE

LATEST = "latest"
OURS = "${run_folder:"
"""How a folder begins that the scripts choose by themselves."""
OURS_OF_SWEEPS = "${sweep_folder:"
"""Likewise, of a sweep."""


def with_home(arguments: Iterable[str]) -> list[str]:
    """The words of a command line with the home directory for a ``~`` that begins a value.

    Most shells leave it there, and no value of Hydra's begins with one.
    """
    begins = re.compile(r"\A([^=]*=)(~[\w.-]*)(?=/|\Z)")
    return [begins.sub(lambda found: found[1] + os.path.expanduser(found[2]), word) for word in arguments]


def home_of(job: DictConfig, sweep: bool) -> list[str]:
    """An override that puts the home directory in the place of a ``~`` that begins the folder of a run or sweep.

    That of a sweep begins at the root: its jobs may run in processes that have started in another folder.
    """
    key = "sweep" if sweep else "run"
    folder = _raw_folder(job, key)
    there = os.path.expanduser(folder)
    if sweep and not there.startswith(("/", "${")):
        there = os.path.join(literal(os.getcwd()), there)
    return [] if there == folder else [f"hydra.{key}.dir={in_quotes(there)}"]


def check_resume(job: DictConfig, sweep: bool) -> None:
    """Raise :class:`UserError` where ``resume`` and the folders of a job do not go together."""
    resume = OmegaConf.select(job, "resume")  # an error of this names the key
    if resume is None:
        return
    folder = _raw_folder(job, "sweep" if sweep else "run")
    if resume == AUTO:
        if "${now:" in folder:
            raise UserError(
                "resume=auto needs a folder that stays the same: add hydra.run.dir=<folder>, or "
                "hydra.sweep.dir=<folder> with --multirun."
            )
        return
    if sweep:
        raise no_sweep(resume)
    resume = str(resume)
    if OURS not in folder and not _same(resume, other := _resolved(job, "run")):
        raise UserError(
            f"resume={resume} goes on in the folder of that run, not in hydra.run.dir={other}. Leave that out; "
            "a job that begins there or goes on takes resume=auto."
        )
    if resume != LATEST and not Path(os.path.expanduser(resume), CONFIG_FILE).is_file():
        raise UserError(
            f"resume={resume}: this folder holds no run ({CONFIG_FILE} is missing). Name a run folder, or latest."
        )


def no_sweep(resume: object) -> UserError:
    """The error for one folder that all jobs of a sweep would go on in."""
    return UserError(
        f"resume={resume} goes with a single run, not with --multirun. To go on with a whole sweep, give it a "
        f"fixed folder and resume={AUTO}: hydra.sweep.dir=<folder> resume={AUTO}."
    )


def sweep_folder(job: DictConfig) -> list[str]:
    """An override that names the folder of a sweep once for all of its jobs, wherever and whenever they run.

    The folder is made, so that no other sweep of the same second gets it. None where the user has named one.
    """
    if OURS_OF_SWEEPS not in _raw_folder(job, "sweep"):
        return []
    return [f"hydra.sweep.dir={in_hydra(os.path.abspath(make_own(_resolved(job, 'sweep'))))}"]


def _raw_folder(job: DictConfig, key: str) -> str:
    """``hydra.run.dir`` or ``hydra.sweep.dir`` with its ``${...}``."""
    plain = OmegaConf.to_container(job.hydra[key], resolve=False)
    assert isinstance(plain, dict)
    return str(plain["dir"])


def given_folder(job: DictConfig, sweep: bool) -> Path | None:
    """The folder of a sweep, or of a run where the user gives it one."""
    key = "sweep" if sweep else "run"
    if OURS in _raw_folder(job, key):
        return None
    return Path(os.path.expanduser(_resolved(job, key))).absolute()


def _resolved(job: DictConfig, key: str) -> str:
    """The folder of a run or sweep as Hydra will have it."""
    with known_to_hydra(job):
        return str(OmegaConf.select(job, f"hydra.{key}.dir"))


def _same(folder: str, other: str) -> bool:
    return folder != LATEST and os.path.realpath(os.path.expanduser(folder)) == os.path.realpath(other)
