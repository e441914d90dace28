"""The door: from what Hydra composed, or a run folder holds, to the typed settings of a script."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from entry.cli import check_overrides
from entry.composing import Composed, plain
from entry.scripts import SCRIPTS, Script
from entry.stored import CHOICES, PHASE, RUN_ID, TAKEN
from entry.unknown_key import hint
from training.lost import CHECKPOINTED
from utils.config import unresolved
from utils.errors import UserError
from utils.settings import SettingError, UnknownKey

ADDED = ("hydra", CHOICES, PHASE, RUN_ID, TAKEN, CHECKPOINTED)
"""What Hydra and the scripts add to a configuration."""


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


def settings_of(phase: str, config: Mapping[str, Any]) -> Any:
    """The settings of the script ``phase``, checked. Behind this, nobody reads a mapping.

    Raises :class:`UserError` that names the key as the user calls it, the value, what is allowed and the nearest match.
    """
    script = SCRIPTS[phase]
    with worded(script):
        asked = {key: value for key, value in config.items() if key not in ADDED}
        return script.read(script.keys, script.aliases.internal(asked))


@contextmanager
def worded(script: Script) -> Iterator[None]:
    """Errors about settings are told by the names that ``script`` has for them, with what is near an unknown one."""
    name = script.aliases.published
    try:
        yield
    except UnknownKey as error:
        raise UserError(str(error) + hint(error.key, map(name, error.known))) from error
    except SettingError as error:
        raise UserError(error.worded(name)) from error
