"""What others have published for the runs of a study: data in its file, put beside what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from analysis.published import Published
from envs.make import TASKS
from utils.errors import UserError, unknown_value
from utils.rules import Count, Flag, Rule, Text, is_number
from utils.settings import Section, SettingError, UnknownKey, fields_of, parse


def _is_mean(value: Any) -> bool:
    """A number, or a number and half of the range around it."""
    pair = value if isinstance(value, list) else [value]
    return 1 <= len(pair) <= 2 and all(map(is_number, pair)) and all(one >= 0 for one in pair[1:])


MEANS = Rule(
    "a table of numbers, or of [number, error]", lambda v: isinstance(v, dict) and all(map(_is_mean, v.values()))
)
Means = Annotated[dict, MEANS]


class Expected(Section):
    """Numbers from one source, of one agent."""

    source: Text
    agent: Text
    scratch: Flag = False
    """Whether they are of runs from scratch."""
    variant: str = ""
    frame: Count | None = None
    """At which they were measured; None: at the end."""
    returns: Means = {}  # noqa: RUF012
    """By task."""
    scores: Means = {}  # noqa: RUF012
    """Means of normalised returns, by domain or task."""


def read_expected(values: Sequence[Any]) -> list[Published]:
    """The entries of the key ``expected``. Raises :class:`UserError` for one that is none."""
    return [one for number, value in enumerate(values) for one in _of(parsed(value, f"expected[{number}]"))]


def parsed(value: Any, name: str) -> Expected:
    """One entry. Raises :class:`UserError`, which calls it ``name``."""
    if not isinstance(value, dict):
        raise UserError(f"{name} must be a section with some of the keys {', '.join(fields_of(Expected))}.")
    try:
        found = parse(Expected, value)
    except UnknownKey as error:
        raise unknown_value(f"{name}: key", error.key, fields_of(Expected)) from None
    except SettingError as error:
        raise UserError(f"{name}: {error}") from None
    known = {task for tasks in TASKS.values() for task in tasks}
    for task in found.returns:
        if task not in known:
            raise unknown_value(f"{name}.returns: task", task, known)
    for subject in found.scores:
        if subject not in known and subject not in TASKS:
            raise unknown_value(f"{name}.scores: domain or task", subject, {*known, *TASKS})
    return found


def _of(part: Expected) -> Iterator[Published]:
    tables: Mapping[bool, Mapping[str, Any]] = {False: part.returns, True: part.scores}
    for normalised, table in tables.items():
        for subject, value in table.items():
            mean, *error = value if isinstance(value, list) else [value]
            yield Published(
                *(part.agent, part.scratch, part.variant, subject, float(mean)),
                error=float(error[0]) if error else None,
                normalised=normalised,
                frame=part.frame,
                source=part.source,
            )
