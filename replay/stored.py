"""Records in a replay's folder, looked at from outside: only reads, also while a run is writing there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from replay.layout import Layout
from replay.storage import Stream
from utils.errors import UserError
from utils.regular import check_file

CHUNK = 4096
"""Records read at once where many are."""


def first_record(layout: Layout, cursor: int) -> int:
    """Number of the oldest record of a stream that can still be sampled after it has written ``cursor``."""
    stream = Stream(Path(), layout)
    stream.cursor = cursor
    return stream.first_record


def records_between(
    directory: Path, layout: Layout, start: int, stop: int, keys: Sequence[str]
) -> dict[str, np.ndarray]:
    """``keys`` of records ``start`` to ``stop - 1`` of the stream in ``directory``: copies (stop - start, ...).

    The files are mapped, for reading only and no longer than this takes: of large records whose images nobody asks for
    a page or two is read.

    Raises:
        UserError: a segment file is missing or has another size.
    """
    stream = Stream(directory, layout)
    found: dict[str, list[np.ndarray]] = {
        key: [np.empty((0, *layout.dtype[key].shape), layout.dtype[key].base)] for key in keys
    }
    while start < stop:
        number, offset = divmod(start, layout.segment_steps)
        end = min(offset + stop - start, layout.segment_steps)
        path = stream.path_of(number)
        try:
            check_file(path, "It holds records of the run.")
            segment = np.memmap(path, layout.dtype, mode="r", shape=(layout.segment_steps,))
        except (OSError, ValueError, UserError) as error:
            raise UserError(
                f"{path} is missing or damaged. If the run is training, it may have just dropped it: try again."
            ) from error
        for key, parts in found.items():
            parts.append(np.array(segment[key][offset:end]))
        start += end - offset
    return {key: np.concatenate(parts) for key, parts in found.items()}


def live_records(directory: Path, layout: Layout, cursor: int, keys: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """``keys`` of all records of the stream in ``directory`` that can still be sampled, in order and in pieces.

    Args:
        cursor: records written ever, as the checkpoint knows it.

    Raises:
        UserError: as :func:`records_between`.
    """
    for start in range(first_record(layout, cursor), cursor, CHUNK):
        yield records_between(directory, layout, start, min(start + CHUNK, cursor), keys)
