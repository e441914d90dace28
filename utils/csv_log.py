"""A CSV file that grows row by row, survives kills, and never puts a value under the wrong name."""

import csv
import io
import logging
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from utils.aside import set_aside
from utils.atomic import atomic_path
from utils.errors import UserError

_log = logging.getLogger(__name__)


class CsvLog:
    """Rows of numbers under a fixed header.

    The header is declared by the first row: ``columns`` in the given order, then that row's other keys, sorted. Absent
    values are empty cells. A key that appears later becomes a new column on the right; the file is then rewritten
    atomically and older rows get empty cells. An existing file is continued under its own header; what a kill left
    half-written at its end is cut. A file with other lines that are no rows is kept as ``previous_<n>_<name>``.

    Args:
        path: the file; it exists once it has a row.
        columns: columns that are always there. One of them must be ``order_by``.
        order_by: the column ``truncate`` compares.
        text: columns that hold words instead of numbers.

    Raises:
        UserError: the existing file has no such column.
    """

    def __init__(self, path: Path, columns: Sequence[str], order_by: str = "frame", text: Collection[str] = ()) -> None:
        if order_by not in columns:
            raise ValueError(f"order_by={order_by!r} is not among the columns {list(columns)}")
        self.path = Path(path)
        self._base = list(columns)
        self._order_by = order_by
        self._text = frozenset(text)
        self._handle: TextIO | None = None
        found = _parse(self.path, order_by, self._text)
        self._columns, self._count = found.columns, len(found.rows)
        if found.broken:
            kept = set_aside(self.path) if found.odd else None
            whole = f"; the file with them is kept as {kept.name}" if kept else ""
            _log.warning("%s: dropped %d incomplete line(s)%s", self.path, found.broken, whole)
        if found.broken or (self.path.exists() and not found.rows):
            self._rewrite(found.rows)

    def __len__(self) -> int:
        """Number of rows, without the header."""
        return self._count

    def append(self, row: Mapping[str, float | str]) -> None:
        """Write one row and hand it to the operating system at once.

        Raises:
            ValueError: the row lacks the ``order_by`` value; it holds words in a column of numbers, or a line break:
                a resumed run would take it for a line that a kill has left half-written.
        """
        if self._order_by not in row:
            raise ValueError(f"a row of {self.path.name} needs a value for {self._order_by!r}")
        for key, value in row.items():
            if isinstance(value, str) and (key not in self._text or not value.isprintable()):
                raise ValueError(f"{value!r} cannot be put into the column {key!r} of {self.path.name}")
        new = sorted(set(row) - set(self._columns or self._base))
        if self._columns is None:
            self._columns = self._base + new
            self._rewrite([self._cells(row)])
            return
        if new or not set(self._base) <= set(self._columns):
            rows = self._rows()
            missing = [key for key in self._base if key not in self._columns and key not in new]
            self._columns = self._columns + missing + new
            self._rewrite([*rows, self._cells(row)])
            return
        if self._handle is None:
            self._handle = self.path.open("a", newline="", encoding="utf-8")
        self._handle.write(_to_text([self._cells(row)]))
        self._handle.flush()
        self._count += 1

    def truncate(self, frame: float) -> None:
        """Cut the rows whose ``order_by`` value is greater than ``frame`` (all rows: the file goes)."""
        found = _parse(self.path, self._order_by, self._text)
        if found.columns is not None:
            index = found.columns.index(self._order_by)
            self._keep([row for row in found.rows if float(row[index]) <= frame])

    def truncate_rows(self, count: int) -> None:
        """Keep the first ``count`` rows at most."""
        if count < self._count:
            self._keep(self._rows()[:count])

    def flush(self) -> None:
        """Wait until all rows are on the disk, so that a checkpoint written next may rely on them."""
        if self._handle is not None:
            self._handle.flush()
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Sync and close; a later ``append`` opens the file again."""
        if self._handle is not None:
            self.flush()
            self._handle.close()
            self._handle = None

    def _cells(self, row: Mapping[str, float | str]) -> list[str]:
        return [format_cell(row[key]) if key in row else "" for key in self._columns or ()]

    def _rows(self) -> list[list[str]]:
        return _parse(self.path, self._order_by, self._text).rows

    def _keep(self, rows: list[list[str]]) -> None:
        if len(rows) < self._count:
            self._rewrite(rows)

    def _rewrite(self, rows: list[list[str]]) -> None:
        self.close()  # the handle would go on writing into the file that is replaced
        self._count = len(rows)
        if not rows or self._columns is None:
            self._columns = None  # a run that begins again declares its own header
            self.path.unlink(missing_ok=True)
            return
        padded = [row + [""] * (len(self._columns) - len(row)) for row in rows]
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            file.write(_to_text([self._columns, *padded]))


def read_columns(path: Path) -> dict[str, list[float]]:
    """All columns of a CSV log, as lists of equal length; empty cells are NaN, incomplete lines are left out.

    Raises:
        UserError: no such file, or not a CSV log.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such CSV file. Give the train.csv or eval.csv of a run folder.")
    found = _parse(path, None)
    if found.columns is None:
        raise UserError(f"{path}: the file is empty or has no header line.")
    return {key: [float(row[i]) if row[i] else math.nan for row in found.rows] for i, key in enumerate(found.columns)}


def rows_below(path: Path, order_by: str, value: float, text: Collection[str] = ()) -> int:
    """How many rows of a CSV log have a smaller ``order_by``. Raises UserError for what is no log of ours."""
    found = _parse(path, order_by, text)
    columns = found.columns
    return sum(float(row[columns.index(order_by)]) < value for row in found.rows) if columns else 0


def format_cell(value: float | str) -> str:
    """A number as text that reads back exactly; whole numbers below 2**53 without a decimal point. Words stay."""
    if isinstance(value, str):
        return value
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _to_text(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class _Parsed(NamedTuple):
    columns: list[str] | None
    """None without a header."""
    rows: list[list[str]]
    broken: int
    """Lines that are no rows."""
    odd: bool
    """Whether one of them is finished and says something: no kill has left it so."""


def _parse(path: Path, order_by: str | None, words: Collection[str] = ()) -> _Parsed:
    if not path.is_file():
        return _Parsed(None, [], 0, False)
    *lines, rest = path.read_bytes().split(b"\n")  # what follows the last line end was never finished
    texts = [line.decode("utf-8", errors="replace").rstrip("\r") for line in lines]
    columns = next(csv.reader(texts[:1]), None)
    if not columns:
        return _Parsed(None, [], bool(rest) + len(texts), any(map(_says, texts)))
    if order_by is not None and order_by not in columns:
        raise UserError(f"{path}: no column {order_by!r}, so this is no log of ours. Move the file away.")
    rows, broken = [], []
    for text in texts[1:]:
        row = [] if "\0" in text else next(csv.reader([text]), [])  # a power cut may leave zero bytes
        numbers = [cell for cell, column in zip(row, columns, strict=False) if column not in words]
        if (
            len(row) == len(columns)
            and all(map(_is_number, numbers))
            and (not order_by or row[columns.index(order_by)])
        ):
            rows.append(row)
        else:
            broken.append(text)
    return _Parsed(columns, rows, bool(rest) + len(broken), any(map(_says, broken)))


def _says(line: str) -> bool:
    return bool(line.strip("\0 \t"))


def _is_number(cell: str) -> bool:
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True
