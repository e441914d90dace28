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


@dataclass(frozen=True)
class LogLayout:
    """By prefix, ``train`` and ``eval``."""

    columns: Mapping[str, tuple[str, ...]]
    """The first columns of the CSVs; other metrics come after them."""
    fields: Mapping[str, tuple[Field, ...]]
    width: int
    """Of the console line's first word, in characters."""


_EVAL_COLUMNS = ("episode", "episode_length", "episode_reward", "frame", "step", "total_time")
_EVAL_FIELDS = (
    Field("frame", "F", "int"),
    Field("step", "S", "int"),
    Field("episode", "E", "int"),
    Field("episode_length", "L", "int"),
    Field("episode_reward", "R", "float"),
    Field("total_time", "T", "time"),
)

DREAMER = LogLayout(
    columns={"train": tuple(sorted((*_EVAL_COLUMNS, "buffer_size", "fps"))), "eval": _EVAL_COLUMNS},
    fields={"train": (*_EVAL_FIELDS[:-1], Field("fps", "FPS", "float"), _EVAL_FIELDS[-1]), "eval": _EVAL_FIELDS},
    width=14,
)
"""The published form of mastering-urlb."""
