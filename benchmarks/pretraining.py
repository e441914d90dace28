"""The settings of ``dreamer_pretrain.py``, of which benchmarks take every key that is not their own."""

from typing import Any

from entry.settings import settings_of
from training.settings import PretrainKeys


def read(plain: dict[str, Any]) -> PretrainKeys:
    """The typed settings of the script. Raises :class:`utils.errors.UserError`."""
    settings = settings_of("pretrain", plain)
    assert isinstance(settings, PretrainKeys)
    return settings
