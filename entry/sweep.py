"""What is done for a sweep as a whole before its first job starts."""

import os
import sys
from pathlib import Path

from omegaconf import OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from entry.composing import Composed, plain
from utils.advice import in_quotes
from utils.config import unresolved
from utils.errors import UserError
from utils.variant import SWEPT

MANY = 20
"""Jobs that it takes seconds to check."""


def swept(composed: Composed) -> list[str]:
    """An override that tells every job which keys its sweep has several values of; they may run on other machines."""
    section = SWEPT.rpartition(".")[0]
    if not composed.known.swept or OmegaConf.select(composed.jobs[0], section) is None:
        return []
    return [f"+{SWEPT}=[{','.join(in_quotes(key) for key in composed.known.swept)}]"]


def check_jobs(script: str, composed: Composed) -> None:
    """Check the values of every job of a sweep that is composed, but for those of runs that go on.

    Raises :class:`UserError` that names all jobs with a fault: of a sweep of days, better now than when their turn has
    come.
    """
    if not composed.sweep:
        return
    from entry.reading import settings_of
    from entry.run_folder import begins  # these load torch, which a command line with a fault can wait for

    if len(composed.jobs) > MANY:
        print(f"note: all {len(composed.jobs)} jobs are checked before the first one starts", file=sys.stderr)
    faults = []
    for number, job in enumerate(composed.jobs):
        try:
            folder = Path(os.path.expanduser(str(job.hydra.sweep.dir)), str(job.hydra.sweep.subdir)).absolute()
            with read_write(job.hydra), open_dict(job.hydra):
                job.hydra.runtime.output_dir = str(folder)
            if begins(job.get("resume"), folder):
                settings_of(script, plain(job))
        except (UserError, OmegaConfBaseException) as error:
            faults.append((number, unresolved(error) if isinstance(error, OmegaConfBaseException) else str(error)))
    if faults:
        raise UserError(composed.known.together(faults))
