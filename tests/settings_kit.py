"""Configurations as the scripts compose them, and the typed settings made of them."""

import copy
import functools
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from agents.settings import AgentSettings
from entry.settings import settings_of
from training.parts import agent_class
from utils.config import configs_of, to_plain
from utils.settings import parse, pick


def compose_settings(script: str, *overrides: str) -> dict[str, Any]:
    """The plain configuration of ``pretrain``, ``finetune`` or ``drq`` for a command line."""
    return copy.deepcopy(_compose(script, *overrides))


@functools.cache
def _compose(script: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(configs_of(script)), version_base="1.3"):
        config = compose(script, list(overrides))
    return to_plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


def typed(script: str, *overrides: str) -> Any:
    """The checked settings of a script for a command line."""
    return settings_of(script, compose_settings(script, *overrides))


def agent_settings(config: dict[str, Any]) -> AgentSettings:
    """What the agent of a plain configuration reads of it."""
    schema = agent_class(config["agent"]["_target_"]).schema(config["agent"])
    return parse(schema, pick(schema, config))
