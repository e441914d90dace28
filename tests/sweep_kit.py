"""Tables of which the ordinary tests take some rows, and ``make test-long`` all."""

from collections.abc import Container, Iterable, Sequence
from itertools import product
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet


def sweep(rows: Iterable[Any], ordinary: Container[Any]) -> list[ParameterSet]:
    """``rows`` for ``parametrize``, tuples as several arguments; those that are not in ``ordinary`` are long."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=() if row in ordinary else pytest.mark.long)
        for row in rows
    ]


def in_turn(first: Sequence[Any], *others: Sequence[Any]) -> list[ParameterSet]:
    """All combinations for ``parametrize``; ordinary is one for each of ``first``, with the others' values in turn."""
    ordinary = {(value, *(other[i % len(other)] for other in others)) for i, value in enumerate(first)}
    return [
        pytest.param(*row, marks=() if row in ordinary else pytest.mark.long)
        for row in product(first, *map(dict.fromkeys, others))
    ]
