"""Ranges as ``packaging`` reads them, and our own files in full."""

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
VERSIONS = ("2.4", "2.3.5", "3.3.0", "3.3", "4", "4.0.0", "3.17.0", "1.0.28", "1.0.50", "1.3.10", "2.13.0+cpu", "10.1")
EXTRA = ("<4", ">=2.4", "<=1.0.50", "==3.3.0", "!=3.3.0", ">1.3,<1.3.10", ">=3.3.0, <4", "")


@pytest.mark.parametrize("wanted", [*EXTRA, *(requirement.range for requirement in versions.declared())])
def test_ranges_agree_with_packaging(wanted):
    for version in VERSIONS:
        assert versions.within(version, wanted) == SpecifierSet(wanted).contains(version), version


def test_previews_count_as_their_release():
    assert versions.within("2.10.0a0+git1", ">=2.8") and not versions.within("2.7.0rc1", ">=2.8")


@pytest.mark.parametrize("wanted", ["~=1.0", "==1.*", "abc"])
def test_a_range_that_cannot_be_read_is_an_error(wanted):
    with pytest.raises(ValueError, match="cannot read"):
        versions.within("1.0", wanted)


def test_declared_and_pinned_are_those_of_the_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    expected = [(r.name, r.specifier) for r in map(Requirement, project["dependencies"])]
    assert [(r.name, SpecifierSet(r.range)) for r in versions.declared()] == expected
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert versions.pinned() == {versions.canonical(name): version for name, version in pins}
    assert versions.pinned()["dm-control"] == dict(pins)["dm_control"]
