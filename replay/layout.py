"""How records lie on disk: one structured dtype, and how many segment files of which size hold ``capacity`` of them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replay import files
from replay.records import RecordSpec, fields_of, record_dtype
from utils.atomic import atomic_path
from utils.errors import UserError
from utils.folders import remove_empty, will_make
from utils.regular import check_file, kind_of
from utils.rules import MOST, is_int
from utils.settings import SettingError

FORMAT = 1
LAYOUT_FILE = "layout.json"
LARGEST_FILE = 1 << 20
"""Bytes: a ``layout.json`` has about 1000."""
SIZES = ("capacity", "num_envs", "batch_length", "segment_steps", "segments", "live")

TYPICAL_SEGMENTS = 16  # a stream's share is cut into at least this many files, so that eviction is gradual
TYPICAL_STEPS = 16_384  # larger shares get more files of about this many records
FEWEST_SEGMENTS = 3  # the one being written, one that can be sampled, one evicted that a checkpoint may still need
MOST_FILES = 512  # every mapped file holds a descriptor, and processes are commonly allowed 1024


@dataclass(frozen=True)
class Layout:
    """Where every record of a replay goes. Made by :func:`plan`.

    A stream (one per environment) has at most ``segments`` files of ``segment_steps`` records at any time. The newest
    ``live_segments`` can be sampled; the others are slack: evicted, kept until no checkpoint needs them.
    """

    dtype: np.dtype
    capacity: int
    num_envs: int
    batch_length: int
    """Records of the longest run that is drawn: of a window, or stack + 1 of a transition."""
    segment_steps: int
    segments: int
    live_segments: int

    @property
    def segment_bytes(self) -> int:
        """Size of one segment file."""
        return self.segment_steps * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The most bytes the segment files of all streams ever take, evicted ones included."""
        return self.num_envs * self.segments * self.segment_bytes

    def bytes_after(self, records: int) -> int:
        """Bytes the segment files take after each environment has written ``records``: they come one by one."""
        return self.num_envs * min(self.segments, -(-records // self.segment_steps)) * self.segment_bytes

    def describe(self) -> str:
        """One line for the console: ``replay: 1,000,000 steps, 12.3 GB on disk``."""
        return f"replay: {self.capacity:,} steps, {files.readable(self.nbytes)} on disk"

    def to_json(self) -> dict[str, Any]:
        """What ``layout.json`` stores."""
        fields = {key: [list(shape), scalar.str] for key, (shape, scalar) in fields_of(self.dtype).items()}
        sizes = {name: getattr(self, name) for name in ("capacity", "num_envs", "batch_length", "segment_steps")}
        return {"format": FORMAT, **sizes, "segments": self.segments, "live": self.live_segments, "record": fields}


def plan(
    spec: RecordSpec,
    *,
    capacity: int,
    batch_length: int | None = None,
    stack: int | None = None,
    num_envs: int = 1,
    episode_length: int | None = None,
) -> Layout:
    """Cut ``capacity`` records into equal streams and segment files. Touches no disk. Raises as :func:`divide`."""
    steps, segments, live = divide(capacity, batch_length, num_envs, episode_length, stack=stack)
    run, _ = longest_run(batch_length, stack)
    return Layout(record_dtype(spec), capacity, num_envs, run, steps, segments, live)


def longest_run(batch_length: int | None, stack: int | None) -> tuple[int, str]:
    """Records of the longest run that is drawn at once, and the setting it follows from.

    Raises ``UserError`` for a size below 1, ``ValueError`` unless exactly one of the two is given.
    """
    if (batch_length is None) == (stack is None):
        raise ValueError("a replay is sampled in windows or in transitions: give batch_length or stack, one of them")
    if batch_length is not None:
        if batch_length <= 0:
            raise SettingError(f"`batch_length`={batch_length} must be at least 1 record.")
        return batch_length, f"`batch_length`={batch_length}"
    assert stack is not None
    if stack <= 0:
        raise SettingError(f"`framestack`={stack} must be at least 1 frame.")
    return stack + 1, f"`framestack`={stack}"


def divide(
    capacity: int,
    batch_length: int | None = None,
    num_envs: int = 1,
    episode_length: int | None = None,
    *,
    stack: int | None = None,
) -> tuple[int, int, int]:
    """(records per segment, segments, live segments) of every stream.

    ``capacity`` counts every record on disk, in all streams, with the slack for evicted segments (about 1/16).
    ``batch_length`` or ``stack``: what is drawn, windows or transitions between stacks of so many frames.
    ``episode_length`` (records, if known): a stream always keeps a whole episode beside the one that is being written;
    otherwise there would be times with nothing to sample.

    Raises ``UserError`` naming ``replay.capacity``, ``batch_length`` or ``framestack`` (the setting behind ``stack``).
    """
    run, setting = longest_run(batch_length, stack)
    if num_envs <= 0:
        raise SettingError(f"`num_envs`={num_envs} must be at least 1.")
    if capacity <= 0:
        raise SettingError(f"`replay.capacity`={capacity} must be a positive number of steps.")
    smallest = smallest_capacity(run, num_envs, episode_length)
    if capacity < FEWEST_SEGMENTS * 2 * run * num_envs:
        raise SettingError(
            f"`replay.capacity`={capacity} is too small for {num_envs} environment(s) and {setting}. "
            f"Set `replay.capacity`={smallest} or more, or a smaller {setting.partition('=')[0]}."
        )
    steps, segments, live = _divide(capacity // num_envs, run, num_envs)
    if episode_length is not None and _kept(steps, live) < 2 * episode_length - 1:
        raise SettingError(
            f"`replay.capacity`={capacity} is too small: each of {num_envs} environment(s) keeps {_kept(steps, live)} "
            f"records, an episode has {episode_length} and one has to stay while the next is written. "
            f"Set `replay.capacity`={smallest} or more."
        )
    return steps, segments, live


def smallest_capacity(run: int, num_envs: int, episode_length: int | None) -> int:
    """The fewest records that :func:`divide` takes; ``run`` as :func:`longest_run` has it."""
    share = FEWEST_SEGMENTS * 2 * run
    if episode_length is not None:
        kept = 2 * episode_length - 1
        share = max(share, kept)
        while not _keeps(share, kept, run, num_envs):
            share += max(1, share // 32)
    return share * num_envs


def check_disk(
    directory: Path,
    layout: Layout,
    needed: int | None = None,
    kept: bool = False,
    besides: int = 0,
    episode_length: int | None = None,
) -> None:
    """Raise ``UserError`` unless the disk of ``directory`` can take ``needed`` bytes of replay (default: a full one).

    What is there already counts. For the capacity that is advised: ``kept`` if the run goes on, so that its replay
    keeps the one it has; ``besides``, the bytes of what else is to go there; ``episode_length`` as in :func:`divide`.
    """
    needed = layout.nbytes if needed is None else needed
    present = sum(path.stat().st_size for path in directory.glob("stream_*/segment_*.bin") if path.is_file())
    free = files.free_bytes(directory)
    if needed <= free + present:
        return
    fits = (free + present - besides) // layout.dtype.itemsize
    fits -= fits % 1000
    if kept:
        fix = "Free some space, or move the run folder to a larger disk and go on there."
    elif fits >= smallest_capacity(layout.batch_length, layout.num_envs, episode_length):
        fix = f"The largest that fits is `replay.capacity`={fits}."
    else:
        fix = "Free some space or choose a folder on another disk."
    raise SettingError(
        f"`replay.capacity`={layout.capacity} needs {files.readable(needed)} in {directory}, "
        f"and {files.readable(free)} are free. {fix}"
    )


def open_folder(directory: Path, layout: Layout, needed: int | None = None) -> bool:
    """Make ``directory`` ready for ``layout``; whether it already holds segments.

    They have this layout then, unless there is no ``layout.json`` to tell: :func:`check_layout` is for the one who
    knows more of them. ``needed`` as in :func:`check_disk`.

    Raises ``UserError`` when the disk is too small, the folder cannot be used, its segments have another layout, or a
    file of others' has the name of the layout's.
    """
    _refuse_closed(directory)
    try:
        check_disk(directory, layout, needed, (directory / LAYOUT_FILE).exists())
        if any(directory.glob("stream_*/segment_*.bin")):
            compare_layout(directory, layout)
            return True
        _refuse_foreign(directory / LAYOUT_FILE)
        will_make(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_layout(directory, layout)
    except OSError as error:
        raise UserError(
            f"{error.filename or directory} is in the way of the replay or may not be used ({error.strerror}). "
            "Move it away or change its rights."
        ) from error
    return False


def _refuse_closed(directory: Path) -> None:
    """Raise ``UserError`` unless the folder and those of its streams may be looked into and changed."""
    for folder in (directory, *directory.glob("stream_*")):
        if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise UserError(f"{folder} cannot be read and written. Change its rights; nothing was touched.")


def take_back_folder(directory: Path, layout_too: bool) -> None:
    """Undo :func:`open_folder` where it found no segments: ``layout.json``, if it made that, and folders it made."""
    if layout_too:
        (directory / LAYOUT_FILE).unlink(missing_ok=True)
    remove_empty(directory)


def write_layout(directory: Path, layout: Layout) -> None:
    """Write ``layout.json``, all or nothing."""
    with atomic_path(directory / LAYOUT_FILE) as path:
        path.write_text(json.dumps(layout.to_json(), indent=1) + "\n")


def stored_layout(directory: Path) -> dict[str, Any] | None:
    """What ``layout.json`` says, as :meth:`Layout.to_json` put it; None where there is none that can be read."""
    path = directory / LAYOUT_FILE
    try:
        stored = json.loads(path.read_text()) if files.regular_size(path) < LARGEST_FILE else {}
        sizes = [stored[name] for name in SIZES]
        return {**stored, "record": dict(stored["record"])} if all(isinstance(size, int) for size in sizes) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_layout(directory: Path) -> Layout:
    """The layout of the replay in ``directory``. Raises ``UserError`` when there is none to read."""
    path = directory / LAYOUT_FILE
    advice = "Resume the run: that writes it again."
    if kind_of(path) is not None:
        check_file(path, advice)
    try:
        stored = stored_layout(directory) or {}
        spec = {key: (tuple(shape), scalar) for key, (shape, scalar) in stored["record"].items()}
        sizes = [stored[name] for name in SIZES]
        dtype = record_dtype(spec)
        if dtype.hasobject or ("physics" in spec and len(dtype["physics"].shape) != 1):
            raise ValueError("no records of a replay")
        if not all(is_int(size) and 0 < size <= MOST for size in sizes):
            raise ValueError("no layout of a replay")
        return Layout(dtype, *sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is missing or damaged. {advice}") from error


def compare_layout(directory: Path, layout: Layout) -> None:
    """Raise ``UserError`` if ``layout.json`` says that the segments in ``directory`` have another layout."""
    stored = stored_layout(directory)
    if stored is not None:
        _compare(directory, stored, layout, LAYOUT_FILE)


def check_layout(directory: Path, layout: Layout, known: Mapping[str, Any] | None) -> None:
    """Raise ``UserError`` if the checkpoint knows that the records in ``directory`` have another layout.

    ``known``: the layout of then, as :meth:`Layout.to_json` put it; None in older checkpoints, where the run's own
    settings, from which ``layout`` follows, and the sizes of its files have to do.
    """
    if known is None:
        return
    if not isinstance(known, Mapping) or not isinstance(known.get("record"), Mapping):
        raise UserError(
            f"The checkpoint says nothing of use about the layout of {directory}. Put the run's own one back."
        )
    _compare(directory, known, layout, "the checkpoint")


def restore_layout(directory: Path, layout: Layout) -> bool:
    """Write ``layout.json`` if it is missing or cannot be read; whether it was. What lies in its place is kept."""
    if stored_layout(directory) is not None:
        return False
    files.put_aside(directory / LAYOUT_FILE)
    write_layout(directory, layout)
    return True


def _compare(directory: Path, stored: Mapping[str, Any], layout: Layout, source: str) -> None:
    """Raise ``UserError`` if ``source`` says that the segments in ``directory`` were written with another layout."""
    stored_record = dict(stored["record"])
    wanted = layout.to_json()
    record, batch_length = wanted["record"], layout.batch_length
    found = [
        f"record key {key}: stored {stored_record.get(key, 'absent')}, now {record.get(key, 'absent')}"
        for key in sorted(stored_record.keys() | record.keys())
        if stored_record.get(key) != record.get(key)
    ]
    if any(stored.get(name) != wanted[name] for name in ("format", "num_envs", "segment_steps", "segments", "live")):
        for name, label in (("format", "format"), ("capacity", "replay.capacity"), ("num_envs", "num_envs")):
            if stored.get(name) != wanted[name]:
                found.append(f"{label}: stored {stored.get(name)}, now {wanted[name]}")
        if stored.get("batch_length") != batch_length:  # it sets the segment size of small replays
            found.append(f"batch_length: stored {stored.get('batch_length')}, now {batch_length}")
    if found:
        own = f" If {LAYOUT_FILE} is not the run's own, move it away and resume: it is written anew."
        raise UserError(
            f"The replay in {directory} was written with other settings, says {source} ({'; '.join(found)}). "
            f"Use the stored ones or another folder.{own if source == LAYOUT_FILE else ''}"
        )


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    try:
        ours = "record" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise UserError(f"{path} is not of a replay, which would have a file of that name. Use another folder.")


def _divide(share: int, run: int, num_envs: int) -> tuple[int, int, int]:
    """(records per segment, segments, live segments) for a stream of ``share`` records."""
    wanted = max(TYPICAL_SEGMENTS, -(-share // TYPICAL_STEPS))
    wanted = min(wanted, max(FEWEST_SEGMENTS, MOST_FILES // num_envs))
    steps = max(share // wanted, 2 * run)  # so what is drawn touches at most two segments
    segments = share // steps
    return steps, segments, segments - max(1, segments // 16)


def _kept(steps: int, live: int) -> int:
    """Records a stream keeps at least, once it evicts: right after a new segment was opened."""
    return steps * (live - 1)


def _keeps(share: int, records: int, run: int, num_envs: int) -> bool:
    steps, _, live = _divide(share, run, num_envs)
    return _kept(steps, live) >= records
