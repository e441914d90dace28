"""What this project's own files ask of packages, in the terms of the ``packaging`` library."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def within(version: str, wanted: SpecifierSet) -> bool:
    """Whether ``version`` lies in a range; ``2.13.0+cpu`` and ``2.10.0a0`` count as their release.

    Raises ValueError for a version that is none.
    """
    return wanted.contains(Version(version).base_version)


def declared() -> list[Requirement]:
    """``[project] dependencies`` of pyproject.toml; read without ``tomllib``, which Python 3.10 lacks."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml has no list of dependencies")
    return [Requirement(entry) for entry in re.findall(r'^\s*"([^"]+)"', found[1], re.MULTILINE)]


def pinned() -> dict[str, str]:
    """Name -> version of the tested set, requirements.txt; names in lower case with ``-`` for ``_``."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line.partition("#")[0]]
    return {canonicalize_name(name): version.strip() for name, version in pins}
