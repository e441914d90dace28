"""Forecasts of small runs, and disks with as much room as a test wants."""

import shutil
from types import SimpleNamespace

import pytest
from settings_kit import typed

from preflight.forecast import forecast


@pytest.fixture
def need():
    """``need("preset=debug", ...)`` -> forecast of a pre-training."""
    return lambda *overrides: forecast(typed("pretrain", "device=cpu", *overrides), "pretrain")


@pytest.fixture
def free(monkeypatch):
    """``free(10**9)``: every disk has that many bytes free."""

    def set_free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))

    return set_free
