"""The configuration of ``dreamer_pretrain.py``, of which benchmarks take every key that is not their own."""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from entry.cli import check_overrides
from entry.settings import settings_of
from training.settings import PretrainKeys
from utils.config import CONFIGS, to_plain
from utils.errors import UserError


def read(plain: dict[str, Any]) -> PretrainKeys:
    """The typed settings of the script. Raises :class:`UserError`."""
    settings = settings_of("pretrain", plain)
    assert isinstance(settings, PretrainKeys)
    return settings


def plain_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """What the script would compose of ``overrides``, its values unchecked. Raises :class:`UserError`."""
    check_overrides("pretrain", overrides)
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return to_plain(compose("pretrain", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).strip()) from error
