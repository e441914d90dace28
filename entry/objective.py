"""What a job of a sweep returns: one number of its run, for a sweeper that looks for settings."""

import math
from contextlib import suppress
from pathlib import Path

from utils.csv_log import read_columns
from utils.errors import UserError


def objective(key: str | None, run_dir: Path) -> tuple[float | None, str]:
    """The last value in the column that ``key`` names, ``eval/<column>`` or ``train/<column>``, and why there is none.

    None, without a reason, where no key is given.
    """
    if key is None:
        return None, ""
    prefix, _, column = key.partition("/")
    path = run_dir / f"{prefix}.csv"
    columns: dict[str, list[float]] = {}
    with suppress(UserError):  # there is no evaluation yet
        columns = read_columns(path)
    values = [value for value in columns.get(column, []) if math.isfinite(value)]
    if values:
        return values[-1], ""
    there = f"there are {', '.join(columns)}" if columns else f"there is no row in {path.name}"
    return None, f"objective={key}: the run has no such value ({there}), and the job returns none"
