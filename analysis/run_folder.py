"""A run folder whose stored experience is looked at."""

from pathlib import Path
from typing import Any

from training import checkpoint
from training.run import CHECKPOINT
from utils.config import CONFIG_FILE
from utils.errors import UserError


def read_run(folder: Path) -> dict[str, Any]:
    """The checkpoint of the run in ``folder``, which has a replay of its own.

    Raises:
        UserError: no run, no checkpoint yet, or a run of a script that keeps no experience.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{folder} holds no run ({CONFIG_FILE} is missing). Name a run folder.")
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UserError(f"{folder} has no {CHECKPOINT} yet. Wait for the run's first one.")
    content = checkpoint.load(path, "checkpoint")
    if "replay" not in content or "collector" not in content:
        raise UserError(
            f"{folder} is a run without a replay of its own, so it keeps no states. Name one of another script."
        )
    return content
