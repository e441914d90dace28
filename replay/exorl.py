"""Episode files as ExORL (Yarats et al. 2022) publishes them: their names, reading one, writing one.

A file ``<any>_<index>_<length>.npz`` is one episode of ``length`` transitions, a compressed archive of arrays with
``length + 1`` rows. Row 0 is the reset: its action and reward are 0, its discount is 1. Row t holds what action t led
to.
"""

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.atomic import atomic_path
from utils.errors import UserError

NEEDED = ("observation", "action", "reward", "discount")
PHYSICS = "physics"
ABOUT_FILE = "about.json"
LARGEST_ABOUT = 1 << 20
BELOW = "buffer"
"""Folder below that of a collection method in which the archives have their episodes; ``video`` lies beside it."""

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""What NumPy and the archive reader raise for files that are damaged, or none of theirs. NotImplementedError, for a
compression that is not known, is a RuntimeError."""


class Sizes(NamedTuple):
    """Numbers in a row."""

    observation: int
    action: int
    physics: int


class EpisodeFile(NamedTuple):
    """One file, as its name has it."""

    path: Path
    length: int
    """Transitions."""


def episode_files(source: Path, capacity: int | None = None) -> list[EpisodeFile]:
    """The episodes in ``source``, or in its folder ``buffer``, in the order of their names; with ``capacity`` only the
    first, as many as are needed for so many transitions. Only names are looked at.

    Raises:
        UserError: no such folder, no episode in it, or an archive of another name.
    """
    folder = _folder(source)
    found, transitions = [], 0
    for path in sorted(archives(folder)):
        length = length_in(path)
        found.append(EpisodeFile(path, length))
        transitions += length
        if capacity is not None and transitions >= capacity:
            break
    return found


def archives(folder: Path) -> list[Path]:
    """What is named like an archive in ``folder``; hidden files are those of systems and of unfinished writing.

    Raises:
        UserError: it is no folder, or cannot be read.
    """
    try:
        return [path for path in folder.iterdir() if path.suffix == ".npz" and not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}). Name a folder of episodes.") from error


def length_in(path: Path) -> int:
    """The transitions that the name of ``path`` promises. Raises :class:`UserError` for a name of another form."""
    fields = path.stem.rsplit("_", 2)
    if len(fields) != 3 or not all(field.isascii() and field.isdecimal() for field in fields[1:]):
        raise UserError(
            f"{path} is not named <any>_<index>_<length>.npz, e.g. episode_000000_1000.npz. Rename it or move it away."
        )
    if not 0 < len(fields[2]) < 10 or int(fields[2]) < 1:
        raise UserError(f"{path} promises {fields[2]:.20} transitions in its name; an episode has at least 1.")
    return int(fields[2])


def _folder(source: Path) -> Path:
    """``source``, or ``buffer`` in it, whichever has archives."""
    if archives(source):
        return source
    if (source / BELOW).is_dir() and archives(source / BELOW):
        return source / BELOW
    near = sorted(path for path in (*source.glob("*"), *source.glob(f"*/{BELOW}")) if path.is_dir() and archives(path))
    hint = f" Name one of those below that have: {', '.join(map(str, near[:5]))}." if near else ""
    raise UserError(f"{source} has no episodes, which are files <any>_<index>_<length>.npz.{hint}")


def read_episode(file: EpisodeFile, sizes: Sizes | None, *, physics: bool, reward: bool) -> dict[str, np.ndarray]:
    """The arrays of one episode, row 0 the reset's.

    Returns:
        ``observation`` float32 (length + 1, d), ``action`` float32 (length + 1, A), ``discount`` float32 (length + 1,);
        if asked for ``reward`` float32 (length + 1,) and ``physics`` float64 (length + 1, p). Other keys of the file
        are not read. Numbers of another type are taken where float32 holds exactly the same.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    arrays = load_arrays(file.path, [*NEEDED, *([PHYSICS] if physics else [])])
    return parsed(file, arrays, sizes, physics=physics, reward=reward)


def parsed(
    file: EpisodeFile, arrays: Mapping[str, np.ndarray], sizes: Sizes | None, *, physics: bool, reward: bool
) -> dict[str, np.ndarray]:
    """What :func:`read_episode` returns, of arrays that were read already."""
    path, rows = file.path, file.length + 1
    for key in (*NEEDED, *([PHYSICS] if physics else [])):
        array = arrays[key]
        if array.ndim < 1 or len(array) != rows:
            raise UserError(
                f"{path}: `{key}` has the shape {array.shape}, and the name promises {file.length} transitions, which "
                f"are {rows} rows. The file was renamed or is not whole."
            )
    found = {key: _exact(path, key, arrays[key], np.float32) for key in ("observation", "action")}
    found["discount"] = _column(path, "discount", _exact(path, "discount", arrays["discount"], np.float32))
    if physics:
        found[PHYSICS] = _exact(path, PHYSICS, arrays[PHYSICS], np.float64)
    if reward:
        columns = reward_columns(file, arrays["reward"])
        if columns.shape[1] != 1:
            raise UserError(
                f"{path}: `reward` has {columns.shape[1]} columns, as data of several tasks do, and none is the reward "
                "alone. Choose a task of the domain whose reward is computed: relabel_task=<task>."
            )
        found["reward"] = columns[:, 0]
    for key in ("observation", "action", PHYSICS):
        if key in found:
            _check_width(path, key, found[key], None if sizes is None else getattr(sizes, key))
    return found


def reward_columns(file: EpisodeFile, rewards: np.ndarray) -> np.ndarray:
    """The stored rewards as float32 (length + 1, k), of k tasks. Raises :class:`UserError` for what are none."""
    found = _exact(file.path, "reward", rewards, np.float32).reshape(len(rewards), -1)
    if found.shape[1] == 0 or rewards.ndim > 2:
        raise UserError(f"{file.path}: `reward` has the shape {rewards.shape}, where a few numbers a row are expected.")
    return found


def load_arrays(path: Path, keys: Iterable[str], others: bool = False) -> dict[str, np.ndarray]:
    """These arrays of an archive, and with ``others`` all it has. Nothing is unpickled.

    Raises:
        UserError: names the file: it is damaged, or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            there = archive.files
            missing = sorted(set(keys) - set(there))
            found = {} if missing else {key: archive[key] for key in (there if others else keys)}
    except _UNREADABLE as error:
        raise UserError(
            f"{path} cannot be read: it is damaged or no archive of arrays ({_first_line(error)})."
        ) from error
    except AttributeError as error:  # a single array, whatever its name says
        raise UserError(f"{path} cannot be read: it is no archive of arrays.") from error
    if missing:
        raise UserError(f"{path} has no `{missing[0]}`, only {', '.join(sorted(there)) or 'nothing'}.")
    return found


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]:.120}" if lines else type(error).__name__


def _exact(path: Path, key: str, array: np.ndarray, wanted: type[np.floating]) -> np.ndarray:
    """``array`` as ``wanted``, bit for bit the same numbers. Raises :class:`UserError` where that cannot be."""
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: `{key}` holds {array.dtype}, which are no real numbers.")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: `{key}` holds numbers that are not finite.")
    with np.errstate(over="ignore"):
        numbers = array.astype(wanted, copy=False)
    if not np.array_equal(numbers.astype(array.dtype), array):
        raise UserError(
            f"{path}: `{key}` is {array.dtype}, and {np.dtype(wanted)} cannot hold its numbers exactly. Store it as "
            f"{np.dtype(wanted)}, which is the published format."
        )
    return numbers


def _column(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """(rows, 1) or (rows,) as (rows,)."""
    if array.size != len(array):
        raise UserError(f"{path}: `{key}` has the shape {array.shape}, where one number a row is expected.")
    return array.reshape(-1)


def _check_width(path: Path, key: str, array: np.ndarray, width: int | None) -> None:
    if array.ndim != 2 or (width is not None and array.shape[1] != width):
        wanted = "a row of numbers" if width is None else f"{width} numbers"
        raise UserError(
            f"{path}: `{key}` has {' x '.join(map(str, array.shape[1:])) or 'one'} number(s) a row, and the domain has "
            f"{wanted}. These are episodes of another domain."
        )


def write_episode(folder: Path, index: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write one episode, rows first, all or nothing: ``episode_<index>_<length>.npz``, compressed."""
    path = folder / f"episode_{index:06d}_{len(arrays['observation']) - 1}.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def write_about(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``about.json`` beside the episodes of ours, for what the format has no place for."""
    with atomic_path(folder / ABOUT_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_about(source: Path) -> dict[str, Any]:
    """What :func:`write_about` wrote beside the episodes of ``source``; nothing for data of others."""
    path = _folder(source) / ABOUT_FILE
    try:
        found = json.loads(path.read_text()) if path.is_file() and path.stat().st_size < LARGEST_ABOUT else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


Relabel = Callable[[np.ndarray], np.ndarray]
"""Simulator states of an episode, float64 (length + 1, p) -> rewards float32 (length + 1,); row 0 too."""
Progress = Callable[[int, int], None]
"""Told how many of how many files are done."""


def transitions(files: Sequence[EpisodeFile]) -> int:
    """Of all ``files``."""
    return sum(file.length for file in files)
