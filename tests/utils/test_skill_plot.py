"""Figures of skills: what is drawn is what was given, in colours that can be told apart, and written whole."""

import itertools

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from utils.skill_plot import (
    COLOURS,
    Scene,
    apart,
    lines_over_time,
    paths_among_walls,
    paths_side_by_side,
    scenes_side_by_side,
)

SCENE = Scene(np.array([[[0, 0], [1, 0]], [[1, 0], [1, 1]], [[1, 1], [0, 1]], [[0, 1], [0, 0]]], float), (0.2, 0.3))


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved, to look at what is on them."""
    figures = []
    original = matplotlib.figure.Figure.savefig

    def remember(self, *args, **kwargs):
        figures.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", remember)
    return figures


def lines(axes):
    """Colour -> what the lines of that colour show, without the dots at their ends."""
    found = {}
    for line in axes.lines:
        if line.get_linestyle() != "None":
            found.setdefault(line.get_color(), []).append(line.get_xydata().tolist())
    return found


def test_lines_over_time_are_the_episodes(tmp_path, drawn):
    skills = [[np.array([0.0, 1.0, 2.0]), np.array([0.0, 4.0])], [np.array([0.0, -1.0, -3.0])]]
    written = lines_over_time(skills, tmp_path / "deep" / "x", title="two skills", limits=(-10, 25))
    axes = drawn[0].axes[0]
    assert lines(axes) == {
        COLOURS[0]: [[[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 4]]],
        COLOURS[1]: [[[0, 0], [1, -1], [2, -3]]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("Time step", "x position (m)", "two skills")
    assert axes.get_ylim() == (-10, 25)
    # beside the axes: -3 of 35 is below 3 of 35
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert heights["0"] == pytest.approx(13 / 35) and heights["1"] == pytest.approx(7 / 35)
    assert written.pdf.read_bytes().startswith(b"%PDF") and Image.open(written.png).format == "PNG"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["x.pdf", "x.png"]


def test_paths_are_the_episodes_among_the_walls(tmp_path, drawn):
    path = np.array([[0.2, 0.3], [0.4, 0.3], [0.5, 0.9]])
    paths_among_walls([[path, path[:2]], [path[::-1]]], SCENE, tmp_path / "maze.v1")
    axes = drawn[0].axes[0]
    assert lines(axes) == {
        COLOURS[0]: [path.tolist(), path[:2].tolist()],
        COLOURS[1]: [path[::-1].tolist()],
    }
    np.testing.assert_array_equal(axes.collections[0].get_segments(), SCENE.walls)
    assert [text.get_text() for text in axes.texts] == ["0", "0", "1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "1"]
    assert "x" in axes.get_xlabel() and axes.get_aspect() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maze.v1.pdf", "maze.v1.png"]


def test_a_maze_for_each_skill(tmp_path, drawn):
    paths = [np.full((2, 2), 0.1 * number) for number in range(7)]
    paths_side_by_side([[path] for path in paths], SCENE, tmp_path / "each", title="all")
    for number, axes in enumerate(drawn[0].axes):
        assert lines(axes) == {COLOURS[number]: [paths[number].tolist()]}
        assert str(number) in axes.get_title() and len(axes.collections[0].get_segments()) == 4
    assert len(drawn[0].axes) == 7


def test_mazes_side_by_side(tmp_path, drawn):
    scenes_side_by_side({"one": SCENE, "two": SCENE._replace(start=(0.7, 0.7))}, tmp_path / "mazes")
    assert [axes.get_title() for axes in drawn[0].axes] == ["one", "two"]
    assert [axes.lines[0].get_xydata().tolist() for axes in drawn[0].axes] == [[[0.2, 0.3]], [[0.7, 0.7]]]


@pytest.mark.parametrize("count", [1, 10, 45])
def test_nothing_is_clipped(tmp_path, drawn, count):
    skills = [[np.linspace(0, number, 5)] for number in range(count)]
    paths = [[np.stack([episode / count, episode / count], 1) for episode in one] for one in skills]
    lines_over_time(skills, tmp_path / "x", title="A title " * 5)
    paths_among_walls(paths, SCENE, tmp_path / "maze", title="A title " * 5)
    for figure in drawn:
        box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_ten_skills_look_different_and_more_have_other_strokes(tmp_path, drawn):
    lines_over_time([[np.array([0.0, number])] for number in range(25)], tmp_path / "x")
    shown = [line for line in drawn[0].axes[0].lines if line.get_linestyle() != "None"]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in shown}
    assert len(looks) == 25 and len({colour for colour, _ in looks}) == 10


DICHROMACY = (
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
)
"""Of linear RGB, for all cones, and without the first, second or third kind (Machado et al. 2009)."""


def lab(linear):
    """CIE L*a*b* (D65)."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    t = np.array(to_xyz) @ np.clip(linear, 0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", DICHROMACY, ids=["all cones", "no L", "no M", "no S"])
def test_colours_can_be_told_apart_with_any_colour_vision(seen):
    """2.3 is what one just sees side by side."""
    values = [np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255 for colour in COLOURS]
    linear = [np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for v in values]
    places = [lab(np.array(seen) @ one) for one in linear]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2)) > 4 * 2.3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.001, 0.3))
def test_names_are_apart_and_as_near_as_can_be(values, gap):
    values = np.array(values)
    spread = apart(values, gap)
    assert (np.diff(spread) >= gap - 1e-9).all()
    if (np.diff(values) >= gap).all():
        np.testing.assert_allclose(spread, values, atol=1e-9)
    # no shift of a few neighbours that keeps the gaps is nearer
    for begin, end in itertools.combinations(range(len(values) + 1), 2):
        for shift in (-1e-3, 1e-3):
            other = spread.copy()
            other[begin:end] += shift
            if (np.diff(other) >= gap).all():
                assert ((other - values) ** 2).sum() >= ((spread - values) ** 2).sum() - 1e-12


def test_nothing_to_draw_is_refused_and_leaves_no_file(tmp_path):
    for draw in (lines_over_time, lambda skills, out: paths_among_walls(skills, SCENE, out)):
        for skills in ([], [[]], [[np.zeros((0, 2))]]):
            with pytest.raises(ValueError, match="nothing to draw"):
                draw(skills, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_the_same_figure_is_the_same_file(tmp_path):
    one, two = (scenes_side_by_side({"one": SCENE}, tmp_path / name) for name in ("a", "b"))
    assert one.pdf.read_bytes() == two.pdf.read_bytes() and one.png.read_bytes() == two.png.read_bytes()
