"""The settings a run folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from training.older import current_settings
from utils.config import CONFIG_FILE, to_plain

FORMER_PRESET = "drq_preset"
"""What the group ``preset`` of ``drq_train.py`` was called; stored settings may still name it so."""

CHOICES = "choices"
"""Key of the stored configuration that names the chosen group files."""

PHASE = "phase"
"""Key of the stored configuration that names the script."""


def stored_settings(run_dir: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the run in ``run_dir`` was started with; keys that have come into the code since take their ``defaults``.

    Not those of the agent, which depend on the agent.
    """
    stored = current_settings(to_plain(OmegaConf.load(run_dir / CONFIG_FILE)))  # type: ignore[arg-type]
    choices = stored.get(CHOICES, {})
    if FORMER_PRESET in choices:
        choices["preset"] = choices.pop(FORMER_PRESET)
    _add_missing(stored, {key: value for key, value in defaults.items() if key not in ("agent", CHOICES)})
    return stored


def _add_missing(stored: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if key not in stored:
            stored[key] = value
        elif isinstance(value, dict) and isinstance(stored[key], dict):
            _add_missing(stored[key], value)
