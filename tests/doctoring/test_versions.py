"""What our own files ask of packages, in full."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from doctoring import versions

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(versions.__file__).resolve().parents[1]


def test_builds_and_previews_count_as_their_release():
    assert versions.within("2.13.0+cpu", SpecifierSet("==2.13.0"))
    assert versions.within("2.10.0a0+git1", SpecifierSet(">=2.8"))
    assert not versions.within("2.7.0rc1", SpecifierSet(">=2.8"))


def test_declared_and_pinned_are_those_of_the_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions.declared() == [Requirement(text) for text in project["dependencies"]]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(versions.pinned()) == len(pins)
    assert versions.pinned()["dm-control"] == pins["dm_control"]
