"""Python and the installed packages, by their metadata: nothing is imported."""

import platform
import sys
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from doctoring.row import Row, Status, fail, ok
from doctoring.versions import declared, pinned, within

TESTED_PYTHON = (3, 11)
OLDEST_PYTHON = (3, 10)


class Clash(NamedTuple):
    """Packages that do not work together although each is in its range."""

    pair: dict[str, SpecifierSet]
    """Package -> range; the clash is there when all are installed in these."""
    status: Status
    why: str
    fix: str


CLASHES = (
    Clash(
        {"mujoco": SpecifierSet(">=4"), "dm_control": SpecifierSet("<=1.0.50")},
        Status.FAIL,
        "no environment can be made (flex_vertedge)",
        "pip install 'mujoco<4'",
    ),
    Clash(
        {"metaworld": SpecifierSet(""), "numpy": SpecifierSet(">=2.4")},
        Status.FAIL,
        "Meta-World uses np.in1d, which this NumPy no longer has",
        "pip install 'numpy<2.4', or pip uninstall metaworld",
    ),
    Clash(
        {"metaworld": SpecifierSet("==3.1.1"), "mujoco": SpecifierSet("!=3.3.0")},
        Status.WARN,
        "this Meta-World was made for mujoco 3.3.0",
        "pip install mujoco==3.3.0, or pip uninstall metaworld",
    ),
)


def python() -> Row:
    """The interpreter's version."""
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return fail(f"Python {version} is too old", "make setup PYTHON=python3.11")
    if sys.version_info[:2] != TESTED_PYTHON:
        return ok(f"Python {version} (tested: {'.'.join(map(str, TESTED_PYTHON))})")
    return ok(f"Python {version}")


def packages() -> Row:
    """Every dependency of pyproject.toml is installed and in its range."""
    missing: list[Requirement] = []
    outside: list[str] = []
    other: list[str] = []
    wanted, pins = declared(), pinned()
    for requirement in wanted:
        version = installed(requirement.name)
        if version is None:
            missing.append(requirement)
        elif not within(version, requirement.specifier):
            outside.append(f"{requirement.name} {version} (not {requirement.specifier})")
        elif not within(version, SpecifierSet(f"=={pins[canonicalize_name(requirement.name)]}")):
            other.append(f"{requirement.name} {version}")
    if not missing and not outside:
        differing = f"; not the tested version: {', '.join(other)}" if other else ", all of the tested versions"
        return ok(f"{len(wanted)} of {len(wanted)} in their ranges{differing}")
    found = [f"missing: {', '.join(r.name for r in missing)}"] if missing else []
    found += [f"out of range: {', '.join(outside)}"] if outside else []
    names = [r.name for r in missing] + [entry.split()[0] for entry in outside]
    fix = " ".join(f"'{r}'" for r in wanted if r.name in names)
    return fail("; ".join(found), f"pip install {fix} (or make setup: the tested set)")


def combinations() -> Row:
    """No two installed packages are known not to work together."""
    seen: list[tuple[Clash, str]] = []
    for clash in CLASHES:
        versions = {name: installed(name) for name in clash.pair}
        if all(version is not None and within(version, clash.pair[name]) for name, version in versions.items()):
            names = " with ".join(f"{name} {version}" for name, version in versions.items())
            seen.append((clash, f"{names}: {clash.why}"))
    if not seen:
        return ok("no known clash")
    worst = Status.FAIL if any(clash.status is Status.FAIL for clash, _ in seen) else Status.WARN
    return Row(worst, "\n".join(text for _, text in seen), "\n".join(dict.fromkeys(clash.fix for clash, _ in seen)))


def extra_of(domain: str) -> str | None:
    """The package that a domain needs besides, if it does."""
    from envs.make import DOMAINS

    return DOMAINS[domain].extra if domain in DOMAINS else None


def installed(name: str) -> str | None:
    """The version of an installed package, None when there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
