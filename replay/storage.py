"""One stream of records per environment, kept in memory-mapped segment files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from replay import files
from replay.checksum import extended
from replay.layout import Layout
from utils.atomic import sync
from utils.errors import UserError

_NAME = re.compile(r"segment_(\d{8,})\.bin")


class Piece(NamedTuple):
    """Records ``begin:end`` of one mapped segment; holding it keeps the segment readable, also after its deletion."""

    fields: dict[str, np.ndarray]
    begin: int
    end: int


class _Mapped(NamedTuple):
    """A segment in memory."""

    file: np.memmap
    fields: dict[str, np.ndarray]
    content: memoryview
    """All bytes, as they are in the file."""


class Stream:
    """An append-only list of records with an ever increasing index; record j is in segment ``j // segment_steps``.

    A segment is, in turn: *live* (mapped, can be read); *retired*, when ``layout.live_segments`` newer ones exist
    (no longer read, but on disk, because the checkpoint on disk may know its records); *deleted*, by :meth:`release`.
    Which segments are live depends on ``cursor`` alone, never on when files were released. So a run that is resumed
    samples from the same records as one that was not interrupted.

    Written records never change: a process may be killed at any point, and every record before a cursor that was
    saved is intact (against power loss too, if :meth:`flush` returned). What a disk may do to them later shows in their
    checksums: one for the written records of every live segment, extended with every record while its bytes are at
    hand, so that no file has to be read for them.
    """

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.directory = directory
        self.layout = layout
        self.cursor = 0
        """Records written ever; the index of the next one."""
        self._mapped: dict[int, _Mapped] = {}
        self._checksums: dict[int, int | None] = {}
        self._retired: list[int] = []
        self._dirty: set[int] = set()
        self._names_changed = False

    @property
    def opened(self) -> int:
        """Segments that hold records, or held some before they were deleted; the next one gets this number."""
        return -(-self.cursor // self.layout.segment_steps)

    @property
    def full(self) -> bool:
        """Whether the next record needs a new segment."""
        return self.cursor // self.layout.segment_steps not in self._mapped

    @property
    def first_live(self) -> int:
        """Number of the oldest live segment."""
        return max(0, self.opened - self.layout.live_segments)

    @property
    def first_record(self) -> int:
        """Index of the oldest record that can be read."""
        return self.first_live * self.layout.segment_steps

    @property
    def has_slot(self) -> bool:
        """Whether one more segment file stays within the bound."""
        return len(self._mapped) + len(self._retired) < self.layout.segments

    @property
    def slot_needed_soon(self) -> bool:
        """Whether the segment being written is past its half and the next one has no slot."""
        written = self.cursor - (self.opened - 1) * self.layout.segment_steps
        return not self.has_slot and 2 * written > self.layout.segment_steps

    @property
    def checksums(self) -> list[int | None]:
        """CRC-32 of the records written to each live segment, the oldest first; None: not known."""
        return [self._checksums[number] for number in self.live_at(self.cursor)]

    def open_segment(self) -> None:
        """Create and map the next segment. Raises ``DiskFull`` (nothing has changed then)."""
        if not (self.full and self.has_slot):
            raise RuntimeError(f"{self.directory} has no slot for a new segment, or needs none")
        number = self.opened
        self._make(number)
        self._names_changed = True
        self._map(number)
        self._checksums[number] = 0

    def _make(self, number: int) -> None:
        path = self.path_of(number)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            files.allocate(path, self.layout.segment_bytes)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise UserError(
                f"{error.filename or path}: {error.strerror}, and the replay needs {path} for the records to come. "
                "Move it away or change its rights, then resume."
            ) from error

    def append(self, records: Mapping[str, np.ndarray], row: int) -> None:
        """Write ``records[key][row]`` as the next record; the first one of a segment retires the oldest live one.

        Needs :meth:`open_segment` while :attr:`full`.
        """
        number, offset = divmod(self.cursor, self.layout.segment_steps)
        segment = self._mapped[number]
        for key, field in segment.fields.items():
            field[offset] = records[key][row]
        before = self._checksums[number]
        if before is not None:
            begin = offset * self.layout.dtype.itemsize
            written = segment.content[begin : begin + self.layout.dtype.itemsize]
            self._checksums[number] = extended(before, written)
        self._dirty.add(number)
        self.cursor += 1
        if offset == 0:
            for old in [other for other in self._mapped if other < self.first_live]:
                # Only older checkpoints may need it, and they have flushed what they know of it: no longer dirty.
                del self._mapped[old], self._checksums[old]
                self._dirty.discard(old)
                self._retired.append(old)

    def window(self, start: int, length: int) -> list[Piece]:
        """Views of records ``start .. start + length - 1``, as consecutive pieces (two if they straddle segments).

        Raises ``IndexError`` for records that were evicted or not yet written.
        """
        if start < self.first_record or start + length > self.cursor:
            raise IndexError(f"records {start}..{start + length - 1} are not among {self.first_record}..{self.cursor}")
        pieces = []
        while length > 0:
            number, begin = divmod(start, self.layout.segment_steps)
            end = min(begin + length, self.layout.segment_steps)
            pieces.append(Piece(self._mapped[number].fields, begin, end))
            start, length = start + end - begin, length - (end - begin)
        return pieces

    def flush(self) -> None:
        """Bring every written record, and the files' names, to the disk. Returns when they are there."""
        for number in sorted(self._dirty):
            self._mapped[number].file.flush()
            sync(self.path_of(number))
        self._dirty.clear()
        if self._names_changed:
            sync(self.directory)
            sync(self.directory.parent)
            self._names_changed = False

    def release(self, before: int | None = None) -> None:
        """Delete the retired segments with a number below ``before`` (None: all of them)."""
        for number in list(self._retired):
            if before is None or number < before:
                self.path_of(number).unlink(missing_ok=True)
                self._retired.remove(number)

    def restore(self, cursor: int, checksums: Mapping[int, int | None]) -> None:
        """Go (back) to ``cursor``: map what was live then; delete newer segments, and older ones nobody needs.

        ``checksums`` are those of then, by number. The files must be there: see :mod:`replay.damage`.
        """
        self._forget()
        live = self.live_at(cursor)
        for number, path in self.found().items():
            if number not in live:
                path.unlink()
        for number in live:
            self._map(number)
        self._checksums = dict(checksums)
        self.cursor = cursor

    def clear(self) -> None:
        """Delete every segment and start at record 0."""
        self._forget()
        for path in self.found().values():
            path.unlink()
        self.cursor = 0

    def live_at(self, cursor: int) -> range:
        """Numbers of the segments that are live after ``cursor`` records."""
        opened = -(-cursor // self.layout.segment_steps)
        return range(max(0, opened - self.layout.live_segments), opened)

    def _forget(self) -> None:
        self._mapped.clear()
        self._checksums.clear()
        self._retired.clear()
        self._dirty.clear()
        self._names_changed = self.directory.is_dir()

    def _map(self, number: int) -> None:
        shape = (self.layout.segment_steps,)
        segment = np.memmap(self.path_of(number), self.layout.dtype, mode="r+", shape=shape)
        plain = segment.view(np.ndarray)  # indexing a memmap is slower
        fields = {key: plain[key] for key in self.layout.dtype.names or ()}
        self._mapped[number] = _Mapped(segment, fields, plain.view(np.uint8).data)

    def path_of(self, number: int) -> Path:
        """The file of a segment."""
        return self.directory / f"segment_{number:08d}.bin"

    def found(self) -> dict[int, Path]:
        """The segments that are there, by number."""
        if not self.directory.is_dir():
            return {}
        names = ((_NAME.fullmatch(path.name), path) for path in self.directory.iterdir())
        return {int(match.group(1)): path for match, path in names if match}
