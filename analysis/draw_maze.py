"""``python -m analysis.draw_maze MAZE ... --out FILE``: mazes as training will have them, as PDF and PNG.

A maze is the name of one of ours or the path of a file; one that is not closed is refused.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from envs.maze_layout import MAZES, layout
from utils.errors import UserError, exit_status
from utils.skill_plot import Scene, scenes_side_by_side


def scene(maze: str) -> Scene:
    """``maze``, by its name or its file, as it is drawn. Raises UserError as :func:`envs.maze_layout.layout`."""
    found = layout(maze)
    return Scene(found.segments, found.start)


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the mazes beside each other and prints where they are."""
    parser = argparse.ArgumentParser("python -m analysis.draw_maze", description=__doc__)
    parser.add_argument("mazes", nargs="*", metavar="MAZE", help=f"default: {' '.join(MAZES)}")
    parser.add_argument("--out", type=Path, default=Path("mazes.png"), help="default: mazes.png, and mazes.pdf with it")
    asked = parser.parse_args(arguments)
    names = asked.mazes or list(MAZES)
    scenes = {Path(name).stem: scene(name) for name in names}
    try:
        written = scenes_side_by_side(scenes, asked.out.with_suffix(""))
    except OSError as error:
        raise UserError(f"--out={asked.out} cannot be written ({error.strerror}). Choose another place.") from error
    print(f"{written.png} and {written.pdf.name}: {', '.join(scenes)}")


if __name__ == "__main__":
    sys.exit(main())
