"""Figures of a scorecard, by what is drawn."""

import re

from PIL import Image

from utils.score_plot import duels, intervals, profiles
from utils.scores import performance_profile
from utils.statistics import Interval

NAMES = ["from scratch", "ours"]


def colours(path):
    with Image.open(path) as picture:
        return {colour for _, colour in picture.convert("RGB").getcolors(2**22)}


def test_intervals(tmp_path):
    table = {"from scratch": Interval(0.3, 0.2, 0.4), "ours": Interval(0.8, 0.7, 0.9)}
    made = intervals({"IQM": table, "gap": table}, tmp_path / "a", grey=["from scratch"], less_is_better=["gap"])
    assert [path.name for path in made] == ["a.png", "a.svg"]
    assert (31, 119, 180) in colours(made[0]) and (64, 64, 64) in colours(made[0])
    assert len(re.findall(r'id="axes_\d"', made[1].read_text())) == 2


def test_profiles(tmp_path):
    shares = {name: performance_profile([[0.1, 0.5], [0.3]], [0.0, 0.2, 0.4]) for name in NAMES}
    [png, svg] = profiles(shares, [0.0, 0.2, 0.4], tmp_path / "a", grey=["from scratch"])
    assert (31, 119, 180) in colours(png) and "legend_1" in svg.read_text()


def test_duels(tmp_path):
    found = {("ours", "from scratch"): Interval(0.9, 0.8, 1.0), ("from scratch", "ours"): Interval(0.1, 0.0, 0.2)}
    plain = duels(found, NAMES, tmp_path / "plain")
    bold = duels(found, NAMES, tmp_path / "bold", list(found))
    assert [path.name for path in bold] == ["bold.png", "bold.svg"]
    assert "DejaVuSans-Bold" in bold[1].read_text() and "DejaVuSans-Bold" not in plain[1].read_text()
