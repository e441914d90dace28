"""What may become a run folder: one that is not there yet, an empty one, or one in which a run broke off early."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from entry.lock import LOCK, NOTE
from entry.sweep_table import RECORDS, TABLE, begun
from replay.layout import LAYOUT_FILE
from utils.atomic import is_temporary
from utils.config import CONFIG_FILE
from utils.errors import UserError
from utils.folders import will_make
from utils.latest import AUTO
from utils.plain_yaml import read

MOST_NAMES = 5
"""Of what lies in a folder, in a message."""


class BeforeHydra(Callback):
    """Named in the scripts' configuration: looks at the folder of a run before Hydra makes it or writes there.

    Jobs of a sweep find ``swept`` beside the name, which keys the jobs differ in (``utils/variant.py``).
    """

    def __init__(self, swept: Iterable[str] = ()) -> None: ...

    def on_run_start(self, config: DictConfig, **more: Any) -> None:
        """Ends the process with a message where the folder must not be written to."""
        folder = _folder(config, "hydra.run.dir")
        if folder is None:
            return
        will_make(folder)
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)  # as Hydra will set it; names of log files use it
        try:
            check_hydras_files(config.hydra)
            if begins(config.resume, folder):
                refuse_foreign(folder, config.hydra)
        except UserError as error:  # Hydra only warns of an Exception
            raise SystemExit(f"error: {error}") from None

    def on_multirun_start(self, config: DictConfig, **more: Any) -> None:
        """The same for the folder of a sweep; those of its jobs are looked at when they begin."""
        folder = _folder(config, "hydra.sweep.dir")
        if folder is not None:
            will_make(folder)
            begun.append(folder)
        try:
            check_hydras_files(config.hydra)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None


def begins(resume: str | None, folder: Path) -> bool:
    """Whether a run that is asked for with ``resume`` begins in ``folder``, rather than going on."""
    return resume is None or (resume == AUTO and not os.path.lexists(folder / CONFIG_FILE))


def check_hydras_files(hydra: Any) -> None:
    """Raise :class:`UserError` where Hydra's record of a job would be written over the run's own configuration."""
    if hydra.output_subdir is not None and not _first(hydra.output_subdir):
        raise UserError(
            f"hydra.output_subdir={hydra.output_subdir} is the run folder itself, whose {CONFIG_FILE} Hydra would "
            "write over. Name a folder in it, such as hydra.output_subdir=.hydra"
        )


def refuse_foreign(folder: Path, hydra: Any = None) -> None:
    """Raise :class:`UserError` where ``folder`` holds anything that is of no run; nothing is written.

    ``hydra`` is Hydra's part of the configuration: what it writes may be there (default: that of this job, if any).
    """
    hydra = HydraConfig.get() if hydra is None and HydraConfig.initialized() else hydra
    if not os.path.lexists(folder) or _holds_run(folder):
        return
    try:
        names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"hydra.run.dir={folder} cannot be used ({error.strerror}). Name another folder.") from error
    own = set() if hydra is None else set(_of_hydra(hydra))
    if foreign := [name for name in names if name.rstrip("/") not in own and not _of_a_run(folder, name.rstrip("/"))]:
        key = "hydra.sweep.dir" if hydra is not None and hydra.mode == RunMode.MULTIRUN else "hydra.run.dir"
        more = f" and {len(foreign) - MOST_NAMES} more" if len(foreign) > MOST_NAMES else ""
        raise UserError(
            f"{key}: {folder} holds what is of no run ({', '.join(foreign[:MOST_NAMES])}{more}). A run begins in a "
            f"folder of its own: name one that is new or empty, or leave {key} out."
        )


def _folder(config: DictConfig, key: str) -> Path | None:
    try:
        return Path(os.path.abspath(str(OmegaConf.select(config, key))))
    except Exception:  # whatever is wrong with it, Hydra says it when it comes to use it
        return None


def _holds_run(folder: Path) -> bool:
    path = folder / CONFIG_FILE
    try:
        stored = read(path, "")
    except (UserError, OSError):
        return False
    return "agent" in stored and "seed" in stored


def _of_a_run(folder: Path, name: str) -> bool:
    """Whether ``folder / name`` is of a run that was killed before it had written its configuration."""
    if name == LOCK:
        return _is_lock(folder / LOCK)
    if is_temporary(name):
        return True
    if not _is_lock(folder / LOCK):
        return False
    if name == "replay":
        files = (path for path in (folder / name).rglob("*") if not path.is_dir())
        return all(path.name == LAYOUT_FILE or is_temporary(path.name) for path in files)
    return name in ("wandb", "wandb_run_id")


def _is_lock(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == len(NOTE) and path.read_bytes() == NOTE


def _of_hydra(hydra: Any) -> Iterable[str]:
    """Names in a run folder of what Hydra writes there before the job begins."""
    if hydra.output_subdir is not None:
        yield _first(hydra.output_subdir)
    for handler in (hydra.job_logging or {}).get("handlers", {}).values():
        if "filename" in handler:
            yield Path(str(handler.filename)).name
    if hydra.mode == RunMode.MULTIRUN:  # with hydra.sweep.subdir=. they lie beside the job's
        yield from ("multirun.yaml", ".submitit", RECORDS, TABLE)


def _first(folder: str) -> str:
    """First part of a path in the run folder; empty for the run folder itself."""
    parts = Path(os.path.normpath(folder)).parts
    return parts[0] if parts and parts[0] != "." else ""
