"""Plain values: what files hold besides tensors."""

from collections.abc import Iterator
from typing import Any

MOST_VALUES = 1_000_000
"""In one file. What refers to itself has more, and so has a list of lists of lists of the same list."""

DEEPEST = 40
"""Levels of dicts and lists in each other."""

LARGEST = 2**64
"""Whole numbers are below it."""


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts, lists and tuples with its dotted name, in order.

    Raises ``ValueError`` where there are too many, too deep in each other, or the keys are no texts or whole numbers.
    """
    left = MOST_VALUES
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    while stack:
        name, found, depth = stack.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise ValueError(f"it holds too many values, or values too deep in each other, at {name!s:.80}")
        if isinstance(found, dict):
            if strange := [key for key in found if not isinstance(key, str | int) or isinstance(key, bool)]:
                raise ValueError(f"it has the key {strange[0]!r:.80} in {name or 'its root'}")
            below = found.items()
        elif isinstance(found, list | tuple):
            below = enumerate(found)  # type: ignore[assignment]
        else:
            yield name, found
            continue
        prefix = f"{name}." if name else ""
        stack += reversed([(f"{prefix}{key}", item, depth + 1) for key, item in below])


def check_plain(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is none, true or false, a number of usual size, or a text."""
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"it holds a number of {value.bit_length()} bits at {name}")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"it holds a {type(value).__name__} at {name}")
