"""Missing packages, wrong versions and known clashes, planted as metadata."""

import sys

import pytest
from packaging.utils import canonicalize_name

from doctoring import packages
from doctoring.row import Status
from doctoring.versions import declared, pinned


@pytest.fixture
def installed(monkeypatch):
    """``installed(mujoco="4.0.0", torch=None)``: the tested versions with these changes; None is not installed."""

    def plant(**changes):
        tested = {requirement.name: pinned()[canonicalize_name(requirement.name)] for requirement in declared()}
        monkeypatch.setattr(packages, "installed", (tested | changes).get)

    return plant


def test_the_tested_versions_are_fine(installed):
    installed(metaworld="3.1.1")
    assert packages.packages().status is packages.combinations().status is Status.OK
    assert "all of the tested versions" in packages.packages().found


def test_a_missing_and_an_old_package(installed):
    installed(kornia=None, scipy="1.10.9", hydra_core="1.0")
    row = packages.packages()
    assert row.status is Status.FAIL
    assert "missing: kornia;" in row.found and "scipy 1.10.9 (not >=1.11)" in row.found
    assert row.fix.startswith("pip install 'kornia>=0.7.4' 'scipy>=1.11' (")


def test_another_version_in_range_is_mentioned(installed):
    installed(pillow="10.1.0")
    row = packages.packages()
    assert row.status is Status.OK and row.found.endswith("not the tested version: pillow 10.1.0")


@pytest.mark.parametrize(
    ("versions", "status", "part", "fix"),
    [
        ({"mujoco": "4.0.0", "dm_control": "1.0.50"}, Status.FAIL, "flex_vertedge", "pip install 'mujoco<4'"),
        ({"mujoco": "4.1", "dm_control": "1.0.28"}, Status.FAIL, "flex_vertedge", "pip install 'mujoco<4'"),
        ({"mujoco": "4.0.0", "dm_control": "1.0.51"}, Status.OK, "no known clash", ""),
        ({"mujoco": "3.17.0", "dm_control": "1.0.50"}, Status.OK, "no known clash", ""),
        ({"metaworld": "3.1.1", "numpy": "2.4.0"}, Status.FAIL, "np.in1d", "pip install 'numpy<2.4'"),
        ({"numpy": "2.4.0"}, Status.OK, "no known clash", ""),
        ({"metaworld": "3.1.1", "mujoco": "3.17.0"}, Status.WARN, "mujoco 3.3.0", "pip install mujoco==3.3.0"),
        ({"metaworld": "3.1.1", "mujoco": "3.17.0", "numpy": "2.4"}, Status.FAIL, "np.in1d", "pip install"),
    ],
)
def test_known_clashes(installed, versions, status, part, fix):
    installed(**versions)
    row = packages.combinations()
    assert row.status is status
    assert part in row.found and row.fix.startswith(fix)
    assert bool(row.fix) == (status is not Status.OK)


def test_versions_are_read_from_the_installed_metadata(tmp_path, monkeypatch):
    for name, version in (("mujoco", "4.0.0"), ("dm_control", "1.0.50")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = packages.combinations()
    assert row.status is Status.FAIL and "mujoco 4.0.0 with dm_control 1.0.50" in row.found
    row = packages.packages()
    assert row.status is Status.FAIL and "mujoco 4.0.0 (not " in row.found and ">=3.3.0" in row.found
    assert packages.installed("no-such-package") is None


@pytest.mark.parametrize(("version", "status"), [((3, 9), Status.FAIL), ((3, 10), Status.OK), ((3, 11), Status.OK)])
def test_python_versions(monkeypatch, version, status):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    row = packages.python()
    assert row.status is status and ("tested" in row.found) == (version == (3, 10))
