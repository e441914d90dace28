"""From what Hydra composed, or a run folder holds, to the typed settings of a script."""

from collections.abc import Sequence
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from entry.cli import check_overrides
from entry.composing import Composed, plain
from entry.reading import ADDED, settings_of, worded
from entry.stored import CHOICES
from utils.config import unresolved
from utils.errors import UserError

__all__ = ["ADDED", "composed", "settings_of", "settled", "worded"]


def composed(phase: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain configuration that the script ``phase`` would have for the ``overrides`` of a command line.

    Raises :class:`UserError` for overrides that lead to none; values are for :func:`settings_of` to check.
    """
    return settled(check_overrides(phase, overrides))


def settled(found: Composed) -> dict[str, Any]:
    """The plain configuration of the first job. Raises :class:`UserError` for a ``${...}`` that leads nowhere."""
    try:
        return plain(found.jobs[0]) | {CHOICES: found.choices}
    except OmegaConfBaseException as error:
        raise UserError(unresolved(error)) from error
