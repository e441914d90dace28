"""Where the walls of a maze are: four layouts of ours, or one from a file of the user's."""

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from envs.maze_walls import MARGIN, Floats, Walls
from utils.errors import UserError, unknown_value
from utils.plain_yaml import read
from utils.rules import NOT_NEGATIVE, POSITIVE, Count, Rule, is_number, shown
from utils.settings import MissingKey, Section, SettingError, parse

OURS = Path(__file__).with_name("mazes.yaml")
MAZES = ("DoorMaze", "CenterMaze", "4RoomMaze", "9RoomMaze")
"""Keys of that file."""
ALIASES: Mapping[str, str] = MappingProxyType(
    {"door": "DoorMaze", "center": "CenterMaze", "quarter": "4RoomMaze", "room": "9RoomMaze"}
)
"""Names that published command lines use -> ours."""
MOST_WALLS = 1000
ADVICE = "A maze file has walls: [[[x, y], [x, y], ...], ...], start: [x, y] and steps: n, in [0, 1] x [0, 1]."


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_number(v) and 0 <= v <= 1 for v in value)


def _are_walls(value: Any) -> bool:
    lines = isinstance(value, list) and all(isinstance(line, list) and len(line) >= 2 for line in value)
    return (
        lines and 0 < sum(map(len, value)) <= MOST_WALLS and all(_is_point(point) for line in value for point in line)
    )


Point = Annotated[list[float], Rule("a point [x, y] in [0, 1] x [0, 1]", _is_point)]
Lines = Annotated[
    list[list[list[float]]],
    Rule(f"a list of lines, each of two or more points [x, y] in [0, 1] x [0, 1], {MOST_WALLS} in all", _are_walls),
]


class Layout(Section):
    """A maze that is closed."""

    walls: Lines
    """Lines through points; each pair of neighbours is a wall."""
    start: Point
    """Every episode begins within ``spread`` of it, in x and in y."""
    steps: Count
    """Of an episode."""
    spread: Annotated[float, NOT_NEGATIVE] = 0.0
    max_speed: Annotated[float, POSITIVE] = 0.1
    """Per step: |v| is no larger (Jiang et al. 2022: v_x^2 + v_y^2 <= 0.01)."""
    max_acceleration: Annotated[float, POSITIVE] = 0.1
    """Per step, of each component: what an action of 1 is."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.plain() == other.plain()  # not by what is cached

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def segments(self) -> Floats:
        """(W, 2, 2): both ends of each wall."""
        pairs = [pair for line in self.walls for pair in zip(line[:-1], line[1:], strict=True)]
        return np.array(pairs, np.float64)

    @cached_property
    def barrier(self) -> Walls:
        """What stops a point."""
        return Walls(self.segments)

    def begin(self, random: np.random.Generator) -> Floats:
        """A place to begin at, (2,)."""
        return np.array(self.start, np.float64) + random.uniform(-self.spread, self.spread, 2)

    def free_cells(self, columns: int, rows: int | None = None, samples: int = 7) -> NDArray[np.bool_]:
        """Which cells of a grid over [0, 1] x [0, 1] a point can get to at least in part, (columns, rows): x, y.

        Looks at ``samples`` x ``samples`` points in each cell: a passage narrower than the distance between them may be
        missed.
        """
        counts = np.array([columns, rows or columns]) * samples
        axes = [(np.arange(count) + 0.5) / count for count in counts]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        begin = np.array(self.start, np.float64)
        joined = connected_components(self._neighbours(points, counts, begin), directed=False)[1]
        reached = joined[:-1].reshape(counts) == joined[-1]
        return reached.reshape(columns, samples, -1, samples).any((1, 3))

    def _neighbours(self, points: Floats, counts: NDArray[np.int_], begin: Floats) -> coo_matrix:
        """Which of ``points`` can be reached from which in a straight line; the last node is ``begin``."""
        number = np.arange(len(points)).reshape(counts)
        near = np.flatnonzero((np.abs(points - begin) * counts).max(1) <= 1.0)
        pairs = [
            (number[:-1].ravel(), number[1:].ravel()),
            (number[:, :-1].ravel(), number[:, 1:].ravel()),
            (np.full(len(near), len(points)), near),
        ]
        here, there = (np.concatenate(side) for side in zip(*pairs, strict=True))
        nodes = np.concatenate([points, begin[None]])
        open_ = self.barrier.share(nodes[here], nodes[there] - nodes[here]) == 1.0  # never into a wall, or out of it
        ends = (here[open_], there[open_])
        return coo_matrix((np.ones(len(ends[0])), ends), shape=(len(nodes), len(nodes)))


def is_file(env: str) -> bool:
    """Whether ``env`` names a file rather than one of our mazes."""
    return env.endswith((".yaml", ".yml"))


def layout(maze: str) -> Layout:
    """One of ours by its name or a published one, or a file's by its path, which ends in ``.yaml`` or ``.yml``.

    Raises:
        UserError: the name is unknown, or the file holds no maze, or one that a point can leave.
    """
    name = ALIASES.get(maze, maze)
    if name in MAZES:
        return _ours()[name]
    if is_file(maze):
        return checked(read(Path(maze), ADVICE), maze)
    raise unknown_value("env", maze, MAZES)


def checked(values: Mapping[str, Any], where: str) -> Layout:
    """``values`` as a layout that can be used.

    Raises:
        UserError: says what is wrong in ``where``.
    """
    try:
        found = parse(Layout, values)
    except MissingKey as error:  # its own advice is for command lines
        raise UserError(f"{where}: {error.key} is missing. {ADVICE}") from error
    except SettingError as error:
        raise UserError(f"{where}: {error}") from error
    for wrong in _faults(found):
        raise UserError(f"{where}: {wrong}")
    return found


def _faults(found: Layout) -> Iterator[str]:
    length = np.sqrt(((found.segments[:, 1] - found.segments[:, 0]) ** 2).sum(1))
    if (length <= MARGIN).any():
        short = found.segments[int(length.argmin())].tolist()
        yield f"the wall {shown(short)} is not longer than {MARGIN:g}. Leave it out."
    start = np.array(found.start)
    needed = 2 * MARGIN + float(np.hypot(found.spread, found.spread))
    if (gap := found.barrier.distance(start)) < needed:
        yield (
            f"start={shown(found.start)} is {gap:.3g} from a wall. With spread={found.spread:g} it must be at least "
            f"{needed:.3g} from all."
        )
    if not found.barrier.enclose(start):
        loose = ", ".join(f"[{x:g}, {y:g}]" for x, y in found.barrier.loose_ends()[:8])
        ends = f"These ends of walls touch no other wall: {loose}. " if loose else ""
        yield (
            f"the walls are not closed around start={shown(found.start)}: a point can leave the maze. {ends}"
            f"Close the gap; gaps up to {MARGIN:g} count as closed."
        )


@lru_cache(maxsize=1)
def _ours() -> dict[str, Layout]:
    values = read(OURS, "It is part of this project: install it again.")
    return {name: checked(values[name], f"{OURS.name}: {name}") for name in MAZES}
