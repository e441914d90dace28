"""The command that draws mazes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.draw_maze import main, scene
from analysis.trajectories import maze_metrics
from envs.maze_layout import ALIASES, MAZES, layout
from envs.mazes import MazeVector
from utils.plain_yaml import dump

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def test_ours_are_drawn_as_in_the_docs(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "all.png")]) == 0
    assert ", ".join(MAZES) in capsys.readouterr().out
    assert (tmp_path / "all.pdf").is_file()
    shown = Path(__file__).parents[2] / "docs" / "mazes.png"
    with Image.open(shown) as kept, Image.open(tmp_path / "all.png") as made:
        # fonts may be others, so the walls in the middle of it count
        middle = [round(0.1 * made.width), round(0.3 * made.height), round(0.9 * made.width), round(0.7 * made.height)]
        one, two = (image.convert("L").resize(made.size).crop(middle).resize((80, 20)) for image in (kept, made))
        assert max(abs(a - b) for a, b in zip(one.tobytes(), two.tobytes(), strict=True)) < 40


def test_a_file_of_the_users_is_drawn_and_one_that_is_open_is_refused(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text(dump({"walls": [SQUARE, [[0.5, 0], [0.5, 0.4]]], "start": [0.25, 0.5], "steps": 30}))
    assert main([str(mine), "DoorMaze", "--out", str(tmp_path / "two.png")]) == 0
    assert "mine, DoorMaze" in capsys.readouterr().out
    assert len(scene(str(mine)).walls) == 5
    mine.write_text(dump({"walls": [SQUARE[:4]], "start": [0.25, 0.5], "steps": 30}))
    assert main([str(mine), "--out", str(tmp_path / "open.png")]) == 1
    error = capsys.readouterr().err
    assert str(mine) in error and "[0, 1]" in error and "Traceback" not in error
    assert not (tmp_path / "open.png").exists()


def test_what_cannot_be_is_refused_in_words(tmp_path, capsys):
    assert main(["DorMaze"]) == 1
    assert "DoorMaze" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "x.png")]) == 1
    assert str(tmp_path / "file" / "x.png") in capsys.readouterr().err


@pytest.mark.parametrize("maze", MAZES)
def test_the_page_knows_how_much_a_random_policy_sees(maze):
    page = (Path(__file__).parents[2] / "docs" / "mazes.md").read_text(encoding="utf-8")
    told = re.search(rf"^\| `{maze}` \| `(\w+)` \| ([\d.]+) ± ([\d.]+) % \|$", page, re.MULTILINE)
    assert told is not None and ALIASES[told[1]] == maze
    points, random = MazeVector(layout(maze), 400, seed=5), np.random.default_rng(5)
    points.reset()
    places = [points.positions()]
    for _ in range(points.layout.steps):
        action = np.exp(-0.5) * random.normal(size=(400, 2)).astype(np.float32)
        places.append(points.step(action).info["position"])
    paths = np.stack(places, 1).reshape(10, 40, -1, 2)
    found = maze_metrics([list(one) for one in paths], points.layout.free_cells(10))
    assert abs(found["state_coverage_percent"] - float(told[2])) < 4 * float(told[3]) / np.sqrt(40)
