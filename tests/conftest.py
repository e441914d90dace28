"""Shared by all tests."""

import pytest
import torch
from settings_kit import compose_settings


@pytest.fixture
def settings():
    """``settings("pretrain", "preset=debug", ...)`` -> plain configuration."""
    return compose_settings


@pytest.fixture(autouse=True)
def _one_thread():
    """The tensors of the tests are small: a second thread costs more than it gives, and a loaded machine stalls it."""
    torch.set_num_threads(1)
