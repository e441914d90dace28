"""Versions and ranges such as ``>=3.3.0,<4``, as far as this project's own files use them.

The ``packaging`` library knows all of them, but may be missing on the very machine that needs a diagnosis.
"""

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([<>=!].*)?")
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|<|>)\s*([0-9][0-9.]*)\s*")


class Requirement(NamedTuple):
    """A package and the range it has to be in, empty for any version."""

    name: str
    range: str

    def __str__(self) -> str:
        return self.name + self.range


def release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` -> (2, 13), ``2.10.0a0`` -> (2, 10): builds and previews count as their release."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def within(version: str, wanted: str) -> bool:
    """Whether ``version`` lies in a range. Raises ValueError for one that this module cannot read."""
    clauses = [_CLAUSE.fullmatch(clause) for clause in wanted.split(",")] if wanted else []
    if None in clauses:
        raise ValueError(f"cannot read the range {wanted}")
    return all(_COMPARE[found[1]](release(version), release(found[2])) for found in clauses if found)


def parse(text: str) -> Requirement:
    """``mujoco>=3.3.0,<4`` -> its name and range. Raises ValueError for anything but a name and comparisons."""
    found = _REQUIREMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"cannot read the requirement {text}")
    return Requirement(found[1], (found[2] or "").replace(" ", ""))


def declared() -> list[Requirement]:
    """``[project] dependencies`` of pyproject.toml; read without ``tomllib``, which Python 3.10 lacks."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml has no list of dependencies")
    return [parse(entry) for entry in re.findall(r'^\s*"([^"]+)"', found[1], re.MULTILINE)]


def pinned() -> dict[str, str]:
    """Name -> version of the tested set, requirements.txt; names in lower case with ``-`` for ``_``."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [parse(line) for line in lines if "==" in line.partition("#")[0]]
    return {canonical(pin.name): pin.range.removeprefix("==") for pin in pins}


def canonical(name: str) -> str:
    """``dm_control`` -> ``dm-control``."""
    return re.sub(r"[-_.]+", "-", name).lower()
