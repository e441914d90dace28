"""What the logs of a family of agents look like: columns that are always there, and the console line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Field(NamedTuple):
    """One entry of the console line."""

    key: str
    """The CSV's column."""
    label: str
    kind: Literal["int", "float", "time", "seconds"]
    always: bool = True
    """Whether it is shown, as 0, where there is no such number."""


@dataclass(frozen=True)
class LogLayout:
    """By prefix, ``train`` and ``eval``."""

    columns: Mapping[str, tuple[str, ...]]
    """The first columns of the CSVs; other metrics come after them."""
    fields: Mapping[str, tuple[Field, ...]]
    width: int
    """Of the console line's first word, in characters."""
    unit: str = "frame"
    """What ``frame`` counts."""
