"""The settings a run folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict

from entry.places import located
from training.older import current_settings
from utils.advice import override
from utils.config import CONFIG_FILE
from utils.errors import UserError, unknown_value
from utils.own_code import code_in, refuse_unnamed
from utils.plain_yaml import read
from utils.rules import Rule, Text, shown
from utils.settings import MissingKey, Section, SettingError, parse

FORMER_PRESET = "drq_preset"
"""What the group ``preset`` of ``drq_train.py`` was called; stored settings may still name it so."""

CHOICES = "choices"
"""Key of the stored configuration that names the chosen group files."""

PHASE = "phase"
"""Key of the stored configuration that names the script."""

TAKEN = "taken_over"
"""Key of the composed and the stored configuration: the overrides that the snapshot stands for, where the command line
says nothing."""

RUN_ID = "run_id"
"""Key of the stored configuration that no two runs share, whatever their folders are called."""


DIFFERS = "swept"
"""Key of the stored configuration of a job of a sweep: the overrides that its other jobs have other values of."""


class StoredRun(Section):
    """What every run folder names besides the settings of its script, which are checked as those of a command line."""

    model_config = ConfigDict(extra="ignore")

    phase: Text
    choices: Annotated[dict, Rule("the chosen files of groups", lambda v: isinstance(v, dict))] = {}  # noqa: RUF012
    agent: Annotated[dict, Rule("a section", lambda v: isinstance(v, dict))]


def read_config(run_dir: Path) -> dict[str, Any]:
    """The settings in ``run_dir`` as they were written, of a script there is. Raises :class:`UserError`."""
    from entry.scripts import SCRIPTS

    path = run_dir / CONFIG_FILE
    advice = "Name a run folder; one whose settings are damaged cannot go on."
    stored = current_settings(read(path, advice))
    try:
        phase = parse(StoredRun, stored).phase
    except MissingKey as error:
        raise UserError(f"{path} lacks {error.key}. {advice}") from error
    except SettingError as error:
        raise UserError(f"{path}: {error} {advice}") from error
    if phase not in SCRIPTS:
        raise unknown_value(f"{path}: phase", shown(phase), SCRIPTS)
    return stored


def stored_settings(run_dir: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the run in ``run_dir`` was started with; keys that have come into the code since are as in ``asked``, what
    the present command line composes to. Not those of the agent, which depend on the agent.

    Raises :class:`UserError` for a file that holds no settings of a run, or names code that ``asked`` does not.
    """
    stored = located(read_config(run_dir), run_dir.absolute())
    refuse_unnamed(stored, code_in(asked).values(), override("resume", run_dir))
    choices = stored.setdefault(CHOICES, {})
    if FORMER_PRESET in choices:
        choices["preset"] = choices.pop(FORMER_PRESET)
    _add_missing(stored, {key: value for key, value in asked.items() if key not in ("agent", CHOICES)})
    return stored


def stored_id(run_dir: Path) -> str | None:
    """Which run the one in ``run_dir`` is; None where an earlier version began it."""
    found = read_config(run_dir).get(RUN_ID)
    return None if found is None else str(found)


def _add_missing(stored: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if key not in stored:
            stored[key] = value
        elif isinstance(value, dict) and isinstance(stored[key], dict):
            _add_missing(stored[key], value)
