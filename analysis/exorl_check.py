"""What a data set in the format of ExORL holds: every file is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from replay import exorl
from replay.exorl import EpisodeFile, Sizes
from replay.files import readable
from utils.errors import UserError

MOST_NAMED = 5
"""Files of no use that a message names."""
BINS = 10
WIDEST = 40
"""Characters of the longest bar."""


@dataclass
class Range:
    """Of the numbers of one key, gathered file by file; memory does not grow with them."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    most: float = -np.inf

    def add(self, numbers: np.ndarray) -> None:
        wide = numbers.astype(np.float64).ravel()
        self.count += wide.size
        self.total += float(wide.sum())
        self.squares += float(wide @ wide)
        self.least, self.most = min(self.least, float(wide.min())), max(self.most, float(wide.max()))

    def line(self, key: str, kind: str) -> str:
        mean = self.total / self.count
        spread = max(self.squares / self.count - mean * mean, 0.0) ** 0.5
        return f"{key:<12} {kind:<16} {self.least:>12.5g} {self.most:>12.5g} {mean:>12.5g} {spread:>12.5g}"


@dataclass
class Found:
    """What was read so far."""

    ranges: dict[str, Range] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    rewards: list[np.ndarray] = field(default_factory=list)
    """Of every file (length, k): the only numbers that are kept, 4 bytes a transition and column."""
    returns: list[np.ndarray] = field(default_factory=list)
    """Of every file (k,)."""
    begun: int = 0
    """Files whose row 0 has a reward, as relabelled data have."""
    terminated: int = 0
    extra: set[str] = field(default_factory=set)

    def add(self, file: EpisodeFile, sizes: Sizes | None) -> Sizes:
        """Read ``file``; its sizes. Raises :class:`UserError` unless it is of the format and of ``sizes``."""
        arrays = exorl.load_arrays(file.path, exorl.NEEDED, others=True)
        known = (*exorl.NEEDED, exorl.PHYSICS)
        episode = exorl.parsed(file, arrays, None, physics=exorl.PHYSICS in arrays, reward=False)
        episode["reward"] = exorl.reward_columns(file, arrays["reward"])
        widths = [episode[key].shape[1] if key in episode else 0 for key in ("observation", "action", exorl.PHYSICS)]
        found = Sizes(*widths)
        if sizes is not None and found != sizes:
            raise UserError(f"{file.path}: its rows are {found._asdict()}, those of the first file {sizes._asdict()}.")
        for key, array in episode.items():
            self.ranges.setdefault(key, Range()).add(array)
            self.kinds[key] = f"{arrays[key].dtype} {tuple(array.shape[1:])}"
        self.rewards.append(episode["reward"][1:])
        self.returns.append(episode["reward"][1:].sum(axis=0, dtype=np.float64))
        self.begun += bool(episode["reward"][0].any())
        self.terminated += bool(episode["discount"][-1] == 0)
        self.extra |= arrays.keys() - set(known)
        return found


def check(source: Path, progress: Callable[[int, int], None] = lambda i, n: None) -> str:
    """The lines that ``python -m analysis.exorl check FOLDER`` prints.

    Raises:
        UserError: no episodes, or files of no use: the first of them, and how many.
    """
    files = exorl.episode_files(source)
    found, wrong, sizes = Found(), [], None
    for number, file in enumerate(files):
        try:
            sizes = found.add(file, sizes)
        except UserError as error:
            wrong.append(str(error))
        progress(number + 1, len(files))
    if wrong:
        more = f" And {len(wrong) - MOST_NAMED} more." if len(wrong) > MOST_NAMED else ""
        raise UserError(f"{len(wrong)} of {len(files)} files are of no use. {' '.join(wrong[:MOST_NAMED])}{more}")
    return "\n".join(_lines(files, found))


def _lines(files: list[EpisodeFile], found: Found) -> list[str]:
    lengths = np.array([file.length for file in files])
    size = sum(file.path.stat().st_size for file in files)
    lines = [
        f"folder       {files[0].path.parent}",
        f"episodes     {len(files):,} of {lengths.min():,} to {lengths.max():,} steps, {found.terminated:,} terminated",
        f"transitions  {lengths.sum():,}, {readable(size)}",
    ]
    lines += [
        f"{key:<12} {value}" for key, value in exorl.read_about(files[0].path.parent).items() if key != "versions"
    ]
    if found.extra:
        lines.append(f"other keys   {', '.join(sorted(found.extra))} (not read)")
    if found.begun:
        lines.append(f"relabelled   {found.begun:,} episodes have a reward in row 0, as relabelled data have")
    lines += ["", f"{'key':<12} {'a row':<16} {'least':>12} {'most':>12} {'mean':>12} {'deviation':>12}"]
    lines += [found.ranges[key].line(key, found.kinds[key]) for key in sorted(found.ranges)]
    rewards, returns = np.concatenate(found.rewards), np.array(found.returns)
    for column in range(rewards.shape[1]):
        name = "reward" if rewards.shape[1] == 1 else f"reward {column}"
        mine = returns[:, column]
        lines += ["", f"{name}: of an episode {mine.min():.5g} to {mine.max():.5g}, mean {mine.mean():.5g}"]
        lines += histogram(rewards[:, column])
    return lines


def histogram(numbers: np.ndarray) -> list[str]:
    """A line per bin: its range, the part of ``numbers`` (N,) in it, a bar."""
    least, most = float(numbers.min()), float(numbers.max())
    counts, edges = np.histogram(numbers, BINS if most > least else 1, (least, most) if most > least else None)
    parts = counts / len(numbers)
    return [
        f"  {low:>10.4g} to {high:>10.4g}  {part:>7.2%}  {'#' * round(WIDEST * part / parts.max())}".rstrip()
        for low, high, part in zip(edges[:-1], edges[1:], parts, strict=True)
    ]
