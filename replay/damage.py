"""Segments that are not what a checkpoint knows: found before anything is touched, and put in words."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from replay import checksum, files
from replay.checksum import Progress, Say
from replay.storage import Stream
from utils.errors import UserError

Verify = Literal[True, False, "drop"]
"""What a resumed run does about its records (``replay.verify``): read them all and stop at damage; not look; read them
all and leave out the episodes that damage touches."""

MOST_NAMED = 5
"""Damaged files that a message names."""


class DamagedReplay(UserError):
    """Records that the checkpoint knows are gone or have changed; nothing was touched."""

    def __init__(self, text: str, usable: bool) -> None:
        super().__init__(text)
        self.usable = usable
        """Whether all files are there in full, so that their records can be used as they are."""


class Known(NamedTuple):
    """What a checkpoint knows of a stream."""

    cursor: int
    open: int | None
    """First record of the unfinished episode."""
    whole_from: int
    """First record of it that can be used; 0: all can."""
    checksums: dict[int, int | None]
    """Of the live segments, by number; None: not known, as in checkpoints of older versions."""

    @classmethod
    def of(cls, stream: Stream, saved: Mapping[str, Any]) -> "Known":
        """From what :meth:`replay.replay.Replay.state_dict` says of ``stream``. Raises ``UserError`` for nonsense."""
        live = stream.live_at(saved["cursor"])
        sums, whole_from = saved.get("checksums", [None] * len(live)), saved.get("whole_from", 0)
        numbers = isinstance(sums, list) and all(entry is None or isinstance(entry, int) for entry in sums)
        if not numbers or len(sums) != len(live):
            raise UserError(f"{stream.directory}: the checkpoint has no list of {len(live)} checksums of its segments.")
        if not isinstance(whole_from, int) or not 0 <= whole_from <= saved["cursor"]:
            raise UserError(f"{stream.directory}: whole_from={whole_from!s:.20} is not possible in a checkpoint.")
        return cls(saved["cursor"], saved["open"], whole_from, dict(zip(live, sums, strict=True)))


class Segment(NamedTuple):
    """A live segment as a checkpoint knows it."""

    env: int
    number: int
    path: Path
    records: range
    """Those that the checkpoint knows."""
    nbytes: int
    """Their size."""
    checksum: int | None


class Fault(NamedTuple):
    """A damaged segment."""

    segment: Segment
    what: str
    usable: bool
    """Whether the file is there in full."""


def segments(streams: Sequence[Stream], known: Sequence[Known]) -> Iterator[Segment]:
    """All that are live where ``known`` was known, stream by stream, the oldest first."""
    for env, (stream, then) in enumerate(zip(streams, known, strict=True)):
        steps = stream.layout.segment_steps
        for number, expected in then.checksums.items():
            records = range(number * steps, min((number + 1) * steps, then.cursor))
            nbytes = len(records) * stream.layout.dtype.itemsize
            yield Segment(env, number, stream.path_of(number), records, nbytes, expected)


def examine(streams: Sequence[Stream], known: Sequence[Known], verify: Verify, say: Say) -> list[Fault]:
    """Look at all files that the streams need to go (back) to what is ``known``; only reads.

    Checksums that were not known are, where the files were read.

    Raises ``UserError`` for what has to be mended by hand: rights, and other things that bear a segment's name.
    """
    for stream, then in zip(streams, known, strict=True):
        refuse_in_the_way(stream, stream.live_at(then.cursor))
    there, faults = [], []
    for segment in segments(streams, known):
        what = _hindrance(segment.path, streams[segment.env].layout.segment_bytes)
        if what is None:
            there.append(segment)
        else:
            faults.append(Fault(segment, what, usable=False))
    if verify is not False:
        faults += _changed(there, known, say)
    return sorted(faults)


def refuse_in_the_way(stream: Stream, live: range = range(0)) -> None:
    """Raise ``UserError`` if the folder of ``stream`` may not be changed, or has folders named as segments are."""
    folder = stream.directory
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder, and the replay's segments lie in there. Restore it or move it away.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be read and written. Change its rights; nothing was touched.")
    for number, path in stream.found().items():
        if number not in live and path.is_dir() and not path.is_symlink():
            raise UserError(f"{path} is a folder, and has the name of a segment. Move it away; nothing was touched.")


def touched(episodes: np.ndarray, faults: Sequence[Fault]) -> np.ndarray:
    """(E,) whether an episode has records in a damaged segment; rows of ``episodes``: stream, first record, length."""
    env, start, length = episodes.T
    found = np.zeros(len(episodes), bool)
    for segment, *_ in faults:
        found |= (env == segment.env) & (start < segment.records.stop) & (start + length > segment.records.start)
    return found


def words(faults: Sequence[Fault], episodes: np.ndarray) -> str:
    """Which files, records and episodes are damaged, and how many episodes are not."""
    named = []
    for fault in faults[:MOST_NAMED]:
        env, _, path, records, *_ = fault.segment
        hit = episodes[touched(episodes, [fault])]
        which = f" (records {hit[0, 1]} to {hit[-1, 1:].sum() - 1})" if len(hit) else ""
        named.append(
            f"{path} {fault.what}: it holds records {records[0]} to {records[-1]} of environment {env} and belongs to "
            f"{len(hit)} finished episode(s){which}"
        )
    more = f"; and {len(faults) - MOST_NAMED} more files" if len(faults) > MOST_NAMED else ""
    whole = len(episodes) - int(touched(episodes, faults).sum())
    return f"{'; '.join(named)}{more}. {whole} of {len(episodes)} episodes are whole"


def without(faults: Sequence[Fault], streams: Sequence[Stream], known: Sequence[Known]) -> list[Known]:
    """What is known when the damaged records are given up: their files can be used then, whatever is in them.

    What lies in the place of a file that cannot be used is kept under another name. The rest of an unfinished episode,
    behind the damage, is an episode of its own.
    """
    left = list(known)
    for (env, number, path, records, nbytes, _), _, usable in faults:
        stream, then = streams[env], left[env]
        if not usable:
            stream.directory.mkdir(parents=True, exist_ok=True)
            files.put_aside(path)
            files.allocate(path, stream.layout.segment_bytes)
        then.checksums[number] = checksum.of_file(path, nbytes)
        if then.open is not None and then.open < records.stop:
            left[env] = then._replace(whole_from=max(then.whole_from, records.stop))
    return left


def _hindrance(path: Path, wanted: int) -> str | None:
    """Why ``path`` cannot be a segment of ``wanted`` bytes. Raises ``UserError`` where its rights are all there is."""
    try:
        size = files.regular_size(path)
    except FileNotFoundError:
        return "is a link to nothing" if path.is_symlink() else "is missing"
    except OSError as error:
        if not isinstance(error, PermissionError):
            return f"is {error.strerror or error}"
    else:
        if size != wanted:
            return f"has {size} bytes in place of {wanted}"
        if os.access(path, os.R_OK | os.W_OK):
            return None
    raise UserError(f"{path} cannot be read and written. Change its rights; nothing was touched.")


def _changed(there: Sequence[Segment], known: Sequence[Known], say: Say) -> Iterator[Fault]:
    """The faults of segments whose content is not what was written; those without a checksum get one."""
    without_one = sum(segment.checksum is None for segment in there)
    if without_one:
        say(
            f"note: {without_one} of {len(there)} segments of the replay have no checksum, as an older version wrote "
            "them; they are used as they are, and have one from now on"
        )
    progress = Progress(sum(segment.nbytes for segment in there), say)
    for segment in there:
        try:
            found = checksum.of_file(segment.path, segment.nbytes, progress)
        except OSError as error:
            yield Fault(segment, f"cannot be read ({error.strerror or error})", usable=False)
            continue
        if segment.checksum is None:
            known[segment.env].checksums[segment.number] = found
        elif segment.checksum != found:
            yield Fault(segment, "is not what was written", usable=True)
    if there:
        progress.finish()
