"""Curves with bands, by what is drawn and what files there are."""

import xml.etree.ElementTree as ElementTree

from PIL import Image

from utils.band_plot import Curve, Panel, bands


def test_panels_are_drawn_and_written_twice(tmp_path):
    ours = Curve("ours", [0, 1000], [1.0, 4.0], [0.5, 3.0], [1.5, 5.0])
    theirs = Curve("theirs", [0, 1000], [1.0, 2.0], [0.5, 1.0], [1.5, 3.0], dashed=True)
    panels = [Panel("one", [ours, theirs]), Panel("two", [ours]), Panel("three", [theirs])]
    made = bands(panels, tmp_path / "a.b", "Frames", "Return")
    assert [path.name for path in made] == ["a.b.png", "a.b.svg"] == sorted(path.name for path in tmp_path.iterdir())
    with Image.open(made[0]) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20)}
    assert (31, 119, 180) in colours  # C0, of the first that is not dashed
    drawn = ElementTree.parse(made[1]).getroot()
    axes = [one for one in drawn.iter() if one.get("id", "").startswith("axes_")]
    assert len(axes) == 3
    assert drawn.find(".//*[@id='legend_1']") is not None


def test_a_single_point_has_the_scale_of_the_other_panels(tmp_path):
    lone, long = Curve("a", [0], [1.0], [1.0], [1.0]), Curve("a", [0, 3000], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0])
    for panels in ([Panel("one", [lone]), Panel("two", [long])], [Panel("one", [lone])]):
        [_, svg] = bands(panels, tmp_path / "a", "Frames", "Return")
        assert "m -->" not in svg.read_text()  # of a frame there are no thousandths
    bands([Panel("one", [long]), Panel("two", [lone])], tmp_path / "b", "Frames", "Return")
    assert (tmp_path / "b.svg").read_text().count("<!-- 3k -->") == 2
