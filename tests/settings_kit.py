"""Configurations as the scripts compose them."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from utils.config import configs_of, to_plain


def compose_settings(script: str, *overrides: str) -> dict[str, Any]:
    """The plain configuration of ``pretrain``, ``finetune`` or ``drq`` for a command line."""
    with initialize_config_dir(str(configs_of(script)), version_base="1.3"):
        config = compose(script, list(overrides))
    return to_plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
