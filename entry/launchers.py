"""Launchers, which run the jobs of a sweep as processes of their own, and sweepers that look for settings: what they
need, and what goes wrong with them.
"""

import shutil
import textwrap
from pathlib import Path
from traceback import walk_tb

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from utils.advice import ROOT, in_shell, override
from utils.errors import UserError
from utils.latest import AUTO

PACKAGES = {
    "hydra/launcher/joblib": ("hydra-joblib-launcher", "launchers"),
    "hydra/launcher/submitit_local": ("hydra-submitit-launcher", "launchers"),
    "hydra/launcher/submitit_slurm": ("hydra-submitit-launcher", "launchers"),
    "hydra/launcher/ray": ("hydra-ray-launcher", "ray"),
    "hydra/sweeper/optuna": ("hydra-optuna-sweeper", "optuna"),
}
"""Options of Hydra's groups that are packages of their own, with the extra of pyproject.toml that brings them."""

PLUGINS = "hydra_plugins."
SLURM = ".SlurmLauncher"


def check_installed(error: Exception) -> None:
    """Raise :class:`UserError` where Hydra has refused a command line for want of one of :data:`PACKAGES`."""
    missing = str(error.missing_cfg_file if isinstance(error, MissingConfigException) else None)
    if missing in PACKAGES:
        group, _, option = missing.rpartition("/")
        package, extra = PACKAGES[missing]
        raise UserError(
            f"{group}={option}: {package} is not installed. It comes with the extra {extra}: "
            f"pip install -e {in_shell(f'{ROOT}[{extra}]')}"
        )


def check_cluster(job: DictConfig) -> None:
    """Raise :class:`UserError` where a sweep is for a cluster and this is none of its machines."""
    launcher = str(OmegaConf.select(job, "hydra.launcher._target_"))
    if launcher.startswith(PLUGINS) and launcher.endswith(SLURM) and shutil.which("srun") is None:
        raise UserError(
            f"hydra/launcher={job.hydra.runtime.choices.get('hydra/launcher')}: there is no srun here, so this is no "
            "machine of a Slurm cluster. Start it on one, or take hydra/launcher=slurm_here."
        )


def check_search(job: DictConfig) -> None:
    """Raise :class:`UserError` where a sweeper that looks for settings would get nothing from the jobs to go by."""
    sweeper = str(OmegaConf.select(job, "hydra.sweeper._target_"))
    if sweeper.startswith(PLUGINS) and "objective" in job and job.objective is None:
        raise UserError(
            f"hydra/sweeper={job.hydra.runtime.choices.get('hydra/sweeper')}: objective=null gives it nothing to go "
            "by. Name a column of the runs' CSV files, objective=train/episode_reward, or take evaluate=true where "
            "the script has it."
        )


def of_launcher(error: BaseException) -> bool:
    """Whether a launcher has raised ``error``, rather than a job, whose errors come out when all jobs are over."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return any(f.f_code.co_name == "launch" and f.f_globals.get("__name__", "").startswith(PLUGINS) for f in frames)


def lost(error: Exception, sweep: Path) -> UserError:
    """The error for a sweep whose launcher has given up: a process of it was killed, or its cluster is not there."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    why = textwrap.shorten(f"{type(error).__name__}: {first}", 200, placeholder=" ...")
    more = f"{override('hydra.sweep.dir', sweep)} resume={AUTO}"
    return UserError(
        f"the launcher has given up ({why}). What the jobs have written is in {sweep}. One that is begun there was "
        "killed, for want of memory for one, or still runs, as others of a cluster do. When none runs any more, add "
        f"{more} to the command: it goes on."
    )
