"""Shared by all tests: configurations as the scripts compose them."""

from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from utils.config import CONFIGS, to_plain


def compose_settings(script: str, *overrides: str) -> dict[str, Any]:
    """The plain configuration of ``pretrain`` or ``finetune`` for a command line."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(script, list(overrides))
    return to_plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


@pytest.fixture
def settings():
    """``settings("pretrain", "preset=debug", ...)`` -> plain configuration."""
    return compose_settings


@pytest.fixture(autouse=True)
def _one_thread():
    """The tensors of the tests are small: a second thread costs more than it gives, and a loaded machine stalls it."""
    torch.set_num_threads(1)
