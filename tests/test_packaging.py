"""pyproject.toml, requirements.txt, conda_env.yml, Makefile and .ci/run agree with each other."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("help", "setup", "quickstart", "test", "test-long", "lint", "clean")
OF_SWEEPS = ("launchers", "ray", "optuna")  # opt-in; not part of the tested set
# written in two parts, so that this file is not found by its own search
LOCAL_PATHS = re.compile(
    "|".join(("/" + "home/\\w", "/" + "root/", "/" + "Users/\\w", "/" + "work/\\w", "/" + "tmp/\\w"))
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def requirements(lines) -> dict[str, list[Requirement]]:
    """By canonical name; a package may be declared more than once."""
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        text = line.split("#")[0].strip()
        if text:
            requirement = Requirement(text)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def pinned() -> dict[str, str]:
    pins = {}
    for name, (requirement, *more) in requirements(read("requirements.txt").splitlines()).items():
        (specifier,) = requirement.specifier
        assert not more and specifier.operator == "==" and "*" not in specifier.version, requirement
        pins[name] = specifier.version
    return pins


def declared(extras: bool = True) -> dict[str, list[Requirement]]:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lines = list(project["dependencies"])
    for extra, more in project["optional-dependencies"].items():
        lines += more if extras and extra not in OF_SWEEPS else []
    return requirements(lines)


def tracked_texts() -> list[Path]:
    """Files git knows or would add; all files of these kinds where there is no git."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.split("\0") if name]
    binary = {".png", ".gif", ".mp4", ".pt", ".npz", ".npy", ".bin", ".xz"}
    return [path for path in paths if path.is_file() and path.suffix not in binary]


def test_pins_and_ranges_name_the_same_packages():
    assert set(pinned()) == set(declared())


def test_every_pin_is_in_its_range():
    pins = pinned()
    for name, ranges in declared().items():
        for requirement in ranges:
            assert requirement.specifier.contains(pins[name]), f"{requirement}, pinned {pins[name]}"


def test_the_pairs_that_work_are_allowed_and_mujoco_4_is_not():
    ranges = declared()

    def allowed(name, version):
        return all(requirement.specifier.contains(version) for requirement in ranges[name])

    assert allowed("mujoco", "3.3.0") and allowed("dm-control", "1.0.28")
    assert allowed("mujoco", "3.17.0") and allowed("dm-control", "1.0.50")
    assert not allowed("mujoco", "4.0.0")
    assert not allowed("hydra-core", "1.4.0")
    assert "torch==2.13.0" in read("requirements.txt").splitlines()


def test_installed_versions_are_those_of_the_environment():
    """In .venv/ the pinned ones; an environment made otherwise has to be in the ranges."""
    own = Path(sys.prefix) == ROOT / ".venv"
    if own:
        # a build such as 2.13.0+cpu is the same version
        assert {name: version(name).split("+")[0] for name in pinned()} == pinned()
    else:
        for name, (requirement,) in declared(extras=False).items():
            assert requirement.specifier.contains(version(name), prereleases=True), f"{requirement}: {version(name)}"


def test_conda_installs_the_same_set():
    environment = yaml.safe_load(read("conda_env.yml"))
    assert environment["name"] == "urlb"
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "pip" in plain
    (python,) = [entry.partition("=")[2] for entry in plain if entry.startswith("python=")]
    wanted = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert Requirement(f"python{wanted}").specifier.contains(python)
    if pip != ["-r requirements.txt"]:
        assert {name: str(found[0].specifier) for name, found in requirements(pip).items()} == {
            name: f"=={pin}" for name, pin in pinned().items()
        }


def test_the_metadata_is_valid(tmp_path):
    """setuptools accepts pyproject.toml."""
    pytest.importorskip("setuptools", minversion="77")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_text(read(name), encoding="utf-8")
    code = "from setuptools import build_meta as b; import sys; print(b.prepare_metadata_for_build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    (folder,) = tmp_path.glob("*.dist-info")
    metadata = (folder / "METADATA").read_text(encoding="utf-8")
    assert "Name: somnia" in metadata and "License-Expression: MIT" in metadata


OUTSIDE = ("tests", "benchmarks", ".mkdocs")
"""Folders with modules that are not installed."""


def test_installing_makes_every_package_importable_and_brings_the_configurations():
    """What pyproject.toml includes, against the folders: all with modules that are installed, and configs/."""
    setuptools = pytest.importorskip("setuptools", minversion="77")
    settings = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]
    found = set(setuptools.find_namespace_packages(str(ROOT), include=settings["packages"]["find"]["include"]))
    tracked = {path.relative_to(ROOT) for path in tracked_texts()}
    modules = {path.parent for path in tracked if path.suffix == ".py" and path.parts[0] not in OUTSIDE}
    data = {path.parent for path in tracked if path.parts[0] == "configs"}
    wanted = {".".join(folder.parts) for folder in modules | data if folder.parts}
    # what was left behind by a package that is no more may hold caches
    assert {name for name in found if any((ROOT / name.replace(".", "/")).glob("*.*"))} == wanted
    assert all((ROOT / folder / "__init__.py").is_file() for folder in modules if folder.parts)
    kinds = {pattern.removeprefix("*") for pattern in settings["package-data"]["*"]}
    others = {path.suffix for path in tracked if path.parent in modules | data and path.parent.parts} - {".py"}
    assert others == kinds


@pytest.mark.parametrize("target", TARGETS)
def test_make_targets_exist_and_say_what_they_do(target):
    lines = read("Makefile").splitlines()
    (rule,) = [line for line in lines if re.match(rf"{target}:", line)]
    assert "##" in rule, "every target is listed by make help"
    body = lines[lines.index(rule) + 1 :]
    recipe = body[: next((i for i, line in enumerate(body) if not line.startswith("\t")), len(body))]
    assert any("echo" in line for line in recipe)
    assert target in re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)[1].split()


def test_make_alone_prints_help():
    made = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert made.returncode == 0, made.stderr
    assert all(re.search(rf"^  {target} ", made.stdout, re.MULTILINE) for target in TARGETS)


def test_make_refuses_an_old_or_missing_python(tmp_path):
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).write_text(read(name), encoding="utf-8")
    old = tmp_path / "oldpython"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.10\nexit 1\n')
    old.chmod(0o755)
    for python, expected in (
        (str(old), "Python 3.8.10 is too old"),
        ("nopython", "there is no nopython"),
    ):
        command = ["make", "setup", f"PYTHON={python}"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert made.returncode != 0 and expected in made.stderr
        assert not (tmp_path / ".venv").exists()


def test_clean_keeps_runs_and_snapshots(tmp_path):
    (tmp_path / "Makefile").write_text(read("Makefile"), encoding="utf-8")
    kept = [
        tmp_path / name for name in ("exp_local/a/b/checkpoint.pt", "pretrained_models/s.pt", "exp_sweep/c", ".venv/d")
    ]
    caches = [tmp_path / name for name in (".pytest_cache/e", "agents/__pycache__/f.pyc", ".mypy_cache/g")]
    for path in kept + caches:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, timeout=30, check=True)
    assert all(path.exists() for path in kept)
    assert not any(path.parent.exists() for path in caches)


def test_ci_runs_the_checks_and_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert re.findall(r"^make (\S+)$", text, re.MULTILINE) == ["setup", "lint", "docs", "test"]
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_no_local_paths_in_tracked_text():
    found = []
    for path in tracked_texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if LOCAL_PATHS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
