"""Segment files written one after the other, whole episodes at once, by a process that may be killed and continued.

Nothing is mapped, so that memory does not grow with what is written.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from replay import files
from replay.checksum import extended
from replay.layout import Layout
from replay.storage import Stream
from utils.atomic import atomic_path, sync

JOURNAL = "progress.json"
"""How far a process has come that is not done."""


class SegmentWriter:
    """Writes the segments of stream 0 in ``folder``, of a layout whose segments are all live."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self.stream = Stream(folder / "stream_0", layout)
        self.cursor = 0
        self.checksums: list[int] = []
        self._dirty: set[Path] = set()

    def go_on(self) -> int:
        """Continue what another process has left; how many files are done."""
        try:
            left = json.loads((self.folder / JOURNAL).read_text())
            done, cursor, checksums = left["files"], left["cursor"], left["checksums"]
            sizes = [files.regular_size(self.stream.path_of(number)) for number in range(len(checksums))]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if any(size != self.layout.segment_bytes for size in sizes):
            return 0
        self.cursor, self.checksums = cursor, checksums
        return done

    def write(self, records: np.ndarray) -> bool:
        """Append ``records``; whether a segment has come to its end."""
        before = self.cursor // self.layout.segment_steps
        while len(records):
            number, offset = divmod(self.cursor, self.layout.segment_steps)
            taken = records[: self.layout.segment_steps - offset]
            path = self.stream.path_of(number)
            if offset == 0:
                path.parent.mkdir(exist_ok=True)
                path.unlink(missing_ok=True)  # of a process that was killed
                files.allocate(path, self.layout.segment_bytes)
                self.checksums.append(0)
            content = taken.view(np.uint8).data
            with path.open("r+b") as file:
                file.seek(offset * self.layout.dtype.itemsize)
                file.write(content)
            self._dirty.add(path)
            self.checksums[-1] = extended(self.checksums[-1], content)
            self.cursor += len(taken)
            records = records[len(taken) :]
        return self.cursor // self.layout.segment_steps != before

    def save(self, done: int) -> None:
        """What was written is on the disk, and :meth:`go_on` will know: ``done`` files."""
        self.flush()
        write_json(self.folder / JOURNAL, {"files": done, "cursor": self.cursor, "checksums": self.checksums})

    def finish(self) -> None:
        """Forget where a killed process would go on: all is written."""
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def flush(self) -> None:
        """Bring everything to the disk."""
        for path in sorted(self._dirty):
            sync(path)
        self._dirty.clear()
        sync(self.stream.directory)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")
