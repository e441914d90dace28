import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from utils.csv_log import CsvLog
from utils.errors import UserError
from utils.plot import _running_mean, learning_curve, panels


@pytest.fixture
def runs(tmp_path):
    paths = []
    for seed in range(2):
        path = tmp_path / f"seed_{seed}" / "eval.csv"
        log = CsvLog(path, ("frame", "episode_reward"))
        for i in range(5):
            row = {"frame": 10_000 * i, "episode_reward": 100.0 * i + seed, "episode_reward_std": 10.0}
            log.append(row if i != 2 else {"frame": 10_000 * i})
        log.close()
        paths.append(path)
    return paths


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


def test_curves_hold_the_numbers_of_the_files(runs, tmp_path, drawn):
    out = learning_curve(
        runs,
        tmp_path / "plots" / "curve.png",
        labels=["seed 0", "seed 1"],
        title="walker_run",
        reference=450,
        reference_label="expert",
    )
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.width >= 1000
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    assert [entry.name for entry in out.parent.iterdir()] == ["curve.png"]
    (axes,) = drawn[0].axes
    curves = {line.get_label(): line for line in axes.lines}
    assert curves["seed 1"].get_xdata().tolist() == [0, 10_000, 30_000, 40_000]
    assert curves["seed 1"].get_ydata().tolist() == [1, 101, 301, 401]
    assert axes.get_title() == "walker_run"
    assert axes.get_xlabel() == "Environment frames"
    assert axes.get_ylabel() == "Episode return  (band: ± 1 std)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["seed 0", "seed 1"]
    assert [text.get_text() for text in axes.texts] == ["expert"]


def test_nothing_is_clipped(runs, tmp_path, drawn):
    learning_curve(runs, tmp_path / "a.png", labels=["a rather long label for a curve"] * 2, title="A title " * 5)
    figure = drawn[0]
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height


def test_one_curve_needs_no_legend(runs, tmp_path, drawn):
    learning_curve(runs[:1], tmp_path / "a.png", y="episode_reward_std")
    (axes,) = drawn[0].axes
    assert axes.get_legend() is None
    assert axes.get_ylabel() == "Episode reward std"


def test_curves_are_named_by_their_run_folders(runs, tmp_path, drawn):
    learning_curve(runs, tmp_path / "a.png")
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == ["seed_0", "seed_1"]


def test_smoothing_says_so_and_keeps_the_raw_curve(runs, tmp_path, drawn):
    learning_curve(runs[:1], tmp_path / "a.png", smooth=3)
    (axes,) = drawn[0].axes
    assert axes.get_ylabel() == "Episode return  (mean of 3 rows)"
    assert axes.lines[0].get_ydata().tolist() == [0, 100, 300, 400]
    assert np.allclose(axes.lines[1].get_ydata(), [50, 400 / 3, 800 / 3, 350])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
def test_running_mean_by_loop(width):
    values = np.random.default_rng(0).normal(size=7)
    slow = [
        np.mean([values[j] for j in range(7) if -((width - 1) // 2) <= j - i <= width // 2]) for i in range(len(values))
    ]
    assert np.allclose(_running_mean(values, width), slow)


def test_missing_column_is_named_with_those_there(runs, tmp_path):
    with pytest.raises(UserError, match=r"'reward'.* frame, episode_reward"):
        learning_curve(runs, tmp_path / "a.png", y="reward")
    assert not (tmp_path / "a.png").exists()


def test_nothing_to_draw(tmp_path):
    log = CsvLog(tmp_path / "train.csv", ("frame", "episode_reward"))
    log.append({"frame": 0})
    log.close()
    with pytest.raises(UserError, match="nothing to draw"):
        learning_curve([tmp_path / "train.csv"], tmp_path / "a.png")
    with pytest.raises(UserError, match="no such CSV"):
        learning_curve([tmp_path / "other.csv"], tmp_path / "a.png")


def test_one_label_per_file(runs, tmp_path):
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        learning_curve(runs, tmp_path / "a.png", labels=["a"])


def test_panels_give_every_file_axes_of_its_own(runs, tmp_path, drawn):
    out = panels([*runs, runs[0]], tmp_path / "p.png", y="episode_reward", labels=["a", "b", "c"], columns=2)
    assert Image.open(out).size[0] > 500
    axes = drawn[0].axes
    assert [a.get_title() for a in axes] == ["a", "b", "c"]
    assert [a.lines[0].get_ydata().tolist() for a in axes[:2]] == [[0, 100, 300, 400], [1, 101, 301, 401]]
    assert axes[0].get_position().y0 > axes[2].get_position().y0
    with pytest.raises(ValueError, match=r"\b2\b.*\b1\b"):
        panels(runs[:1], tmp_path / "q.png", labels=["a", "b"])
    with pytest.raises(UserError, match="no column 'reward_mean'"):
        panels(runs, tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()
