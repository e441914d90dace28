"""Folders of ExORL episodes, converted once into replay folders of ours, and opened as replays.

A converted folder lies in a cache folder, never beside its source. Its name is made of what its records follow from:
the files of the source (folder, names, sizes, times of their last change), the task whose reward was computed, what is
stored. So a source that has changed is converted anew, under another name; nothing is ever deleted.

The folder is built under the name ``<name>.part`` and renamed when it is complete. A process that was killed meanwhile
leaves its part, and the next one goes on with it. Two at once: the second waits, then uses what the first has made.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from replay import exorl, files
from replay.checksum import Say
from replay.damage import DamagedReplay, Verify
from replay.exorl import EpisodeFile, Progress, Relabel, Sizes
from replay.layout import MOST_FILES, TYPICAL_STEPS, Layout, read_layout, write_layout
from replay.records import fields_of, record_dtype, record_spec
from replay.replay import Replay
from replay.segments import SegmentWriter, write_json
from utils.atomic import sync
from utils.errors import UserError
from utils.folders import check_writable
from utils.locks import Busy, lock_file

FORMAT = 1
INDEX_FILE = "converted.json"
"""What a folder was made from, and what a checkpoint would know of its records."""
CACHE_VARIABLE = "SOMNIA_CACHE"
LARGEST_INDEX = 1 << 26
SLACK = 1 << 20
"""Bytes beside the records that a converted folder needs at most."""
PATIENCE = 5.0
"""Seconds between two looks whether another process is done."""


def default_cache() -> Path:
    """``exorl`` in ``$SOMNIA_CACHE``, which is ``~/.cache/somnia`` unless it is set."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "somnia") / "exorl"


@dataclass(frozen=True)
class Conversion:
    """What is to be converted, and what it will take: only names, sizes and times of files have been looked at."""

    source: Path
    files: Sequence[EpisodeFile]
    sizes: Sizes
    domain: str
    label: str
    """Task whose reward is computed; empty: the stored reward."""
    physics: bool
    """Whether simulator states are kept."""

    @property
    def layout(self) -> Layout:
        """Where the records go: one stream, all of it live."""
        physics = self.sizes.physics if self.physics else None
        spec = record_spec((self.sizes.observation,), "float32", self.sizes.action, 0, physics)
        records = self.records
        steps = min(records, max(TYPICAL_STEPS, -(-records // MOST_FILES)))
        segments = -(-records // steps)
        return Layout(record_dtype(spec), records, 1, 1, steps, segments, segments)

    @property
    def records(self) -> int:
        """Rows of all files."""
        return exorl.transitions(self.files) + len(self.files)

    @property
    def nbytes(self) -> int:
        """What the converted folder takes on the disk, about."""
        return self.layout.nbytes + SLACK

    @cached_property
    def fingerprint(self) -> str:
        """What :meth:`look` found when it was asked for first."""
        return self.look()

    def look(self) -> str:
        """A fingerprint of the files, another one when they have changed. Raises :class:`UserError` for one gone."""
        digest = hashlib.sha256(str(self.source.resolve()).encode())
        for file in self.files:
            try:
                found = file.path.stat()
            except OSError as error:
                raise UserError(f"{file.path} cannot be looked at ({error.strerror}).") from error
            digest.update(f"\n{file.path.name}\0{found.st_size}\0{found.st_mtime_ns}".encode())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """Of the converted folder."""
        made_from = [FORMAT, self.fingerprint, self.sizes, self.domain, self.label, self.physics]
        digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
        return "_".join(part for part in (self.label or self.domain, digest) if part)


def conversion(
    source: Path, *, domain: str, sizes: Sizes, capacity: int, label: str = "", physics: bool = False
) -> Conversion:
    """The first files of ``source``, by name, that have ``capacity`` transitions together; all where there are fewer.

    Raises:
        UserError: as :func:`replay.exorl.episode_files`; or it is an export of ours whose rows are several control
            steps, where all agents that learn from files expect one.
    """
    repeat = exorl.read_about(source).get("action_repeat", 1)
    if repeat != 1:
        raise UserError(
            f"{source} was exported from a run with action_repeat={repeat!s:.10}: its rows are no control steps, as "
            "those of ExORL are. Export a run with action_repeat=1."
        )
    return Conversion(source, exorl.episode_files(source, capacity), sizes, domain, label, physics)


def converted(
    wanted: Conversion,
    cache: Path,
    *,
    relabel: Relabel | None = None,
    progress: Progress = lambda done, total: None,
    say: Say = lambda line: None,
) -> Path:
    """The converted folder in ``cache``; made now unless it is there.

    Args:
        relabel: computes the rewards of ``wanted.label`` from simulator states; given exactly when there is a label.
        progress: told how many of how many files are converted.
        say: told that another process is waited for.

    Raises:
        UserError: a file that cannot be used, too little disk, a cache folder that cannot be written to.
    """
    if (relabel is None) != (not wanted.label):
        raise ValueError("a label names what relabels, and nothing else")
    folder = cache / wanted.name
    if folder.is_dir():
        return folder
    check_writable("the cache folder", str(cache))
    if cache.resolve().is_relative_to(wanted.source.resolve()):
        raise UserError(f"the cache folder {cache} lies in the data set {wanted.source}. Choose another one.")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _own(folder, say) as part:
            if not folder.is_dir():
                with _begun(part):
                    _build(wanted, part, relabel, progress)
                    _rename(part, folder)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be written ({error.strerror}). Free it or choose another."
        ) from error
    return folder


@contextmanager
def _own(folder: Path, say: Say) -> Iterator[Path]:
    """The name under which to build ``folder``, for this process alone."""
    said = False
    while True:
        try:
            with lock_file(folder.with_name(f".{folder.name}.lock"), patience=PATIENCE) as held:
                yield folder.with_name(folder.name + (".part" if held is not None else f".{secrets.token_hex(8)}.part"))
                return
        except Busy:
            if not said:
                said = True
                say(f"another process converts the same data to {folder}; waiting for it")


@contextmanager
def _begun(part: Path) -> Iterator[None]:
    """Makes the folder ``part``; one that this process has made goes again if a file turns out to be of no use."""
    there = part.exists()
    part.mkdir(exist_ok=True)
    try:
        yield
    except UserError:
        if not there:
            shutil.rmtree(part, ignore_errors=True)
        raise


def _rename(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(part, ignore_errors=True)  # where there are no locks, another process was faster: its is as good
    sync(folder.parent)


def _build(wanted: Conversion, part: Path, relabel: Relabel | None, progress: Progress) -> None:
    """Everything in ``part``, from where a process that was killed has left it."""
    layout = wanted.layout
    free = files.free_bytes(part)
    present = sum(path.stat().st_size for path in part.glob("stream_0/*.bin"))
    if wanted.nbytes > free + present:
        raise UserError(
            f"the data set takes {files.readable(wanted.nbytes)} in {part.parent}, and {files.readable(free)} are "
            f"free. Free some space, take fewer transitions, or choose another cache ({CACHE_VARIABLE}=<folder>)."
        )
    writer = SegmentWriter(part, layout)
    done = writer.go_on()
    write_layout(part, layout)
    for number, file in enumerate(wanted.files):
        if number >= done:
            boundary = writer.write(_records(file, wanted, layout.dtype, relabel))
            if boundary:
                writer.save(number + 1)
        progress(number + 1, len(wanted.files))
    writer.flush()
    if wanted.look() != wanted.fingerprint:
        raise UserError(f"{wanted.source} has changed while it was converted. Start again when it is complete.")
    index = {
        "format": FORMAT,
        "source": str(wanted.source.resolve()),
        "fingerprint": wanted.fingerprint,
        "domain": wanted.domain,
        "label": wanted.label,
        "lengths": [file.length for file in wanted.files],
        "checksums": writer.checksums,
    }
    write_json(part / INDEX_FILE, index)
    writer.finish()


def _records(file: EpisodeFile, wanted: Conversion, dtype: np.dtype, relabel: Relabel | None) -> np.ndarray:
    """The records of one episode, (length + 1,) of ``dtype``."""
    physics = wanted.physics or relabel is not None
    episode = exorl.read_episode(file, wanted.sizes, physics=physics, reward=relabel is None)
    terminal = episode["discount"] == 0
    if terminal[:-1].any():
        raise UserError(
            f"{file.path}: the discount is 0 in row {int(terminal.argmax())} of {len(terminal)}, which would be the "
            "episode's end. Cut it there."
        )
    if relabel is not None:
        episode["reward"] = relabel(episode["physics"])
    records = np.zeros(file.length + 1, dtype)
    for key in ("observation", "action", "reward", *(["physics"] if wanted.physics else [])):
        records[key] = episode[key]
    records["is_terminal"] = terminal
    records["is_first"][0] = True
    records["is_last"][-1] = True
    return records


def open_converted(
    folder: Path,
    *,
    batch_size: int,
    seed: int,
    batch_length: int | None = None,
    stack: int | None = None,
    device: str | torch.device = "cpu",
    prefetch: bool = False,
    ring: torch.device | None = None,
    verify: Verify = True,
    say: Say = lambda line: None,
) -> Replay:
    """A converted folder as a replay that can be sampled at once; nobody may add to it.

    Several processes may have it open at once. The arguments are those of :class:`replay.replay.Replay` and of its
    ``load_state_dict``.

    Raises:
        UserError: the folder is damaged: it can be removed, and is then made again.
    """
    try:
        index = _read_index(folder)
        layout = read_layout(folder)
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise _damaged(folder, str(error)) from error
    replay = Replay(
        folder,
        fields_of(layout.dtype),
        capacity=layout,
        batch_size=batch_size,
        batch_length=batch_length,
        stack=stack,
        seed=seed,
        device=device,
        prefetch=prefetch,
        ring=ring,
    )
    records = np.array(index["lengths"], np.int64) + 1
    starts = np.cumsum(records) - records
    state = {
        "layout": layout.to_json(),
        "streams": [
            {
                "cursor": int(records.sum()),
                "first_live": 0,
                "open": None,
                "whole_from": 0,
                "checksums": index["checksums"],
            }
        ],
        "steps": int(records.sum()) - len(records),
        "episodes": torch.from_numpy(np.stack([np.zeros_like(starts), starts, records], axis=1)),
        "sampler": replay.sampler.state,
    }
    try:
        replay.load_state_dict(state, verify=verify, say=say)
    except DamagedReplay as error:
        raise _damaged(folder, str(error)) from error
    if not replay.ready:
        raise UserError(
            f"no episode of {index['source']} is long enough: the longest has {records.max()} records, and batches "
            f"need {replay.sampler.shortest}. Set a smaller batch_length."
        )
    return replay


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_FILE
    if files.regular_size(path) > LARGEST_INDEX:
        raise ValueError(f"{path} is too large")
    index = json.loads(path.read_text())
    if index["format"] != FORMAT or not index["lengths"]:
        raise ValueError(f"{path} is of another version")
    return index


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(f"{folder} is damaged: {why} Remove the folder; the next run makes it again from the data set.")
