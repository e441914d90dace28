"""The door: from a plain configuration to the typed settings of a script."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from entry.scripts import SCRIPTS, Script
from entry.stored import CHOICES, DIFFERS, PHASE, RUN_ID, TAKEN
from entry.unknown_key import hint
from training.lost import CHECKPOINTED
from utils.errors import UserError
from utils.settings import SettingError, UnknownKey

ADDED = ("hydra", CHOICES, PHASE, RUN_ID, TAKEN, CHECKPOINTED, DIFFERS)
"""What Hydra and the scripts add to a configuration."""


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
