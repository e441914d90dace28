"""Skills of ReST in evaluate.py and analysis.videos: which models are meant, equal starts, files."""

import csv
import json

import imageio.v3
import numpy as np
import pytest
from run_kit import DEBUG

from analysis.evaluate import main
from analysis.rest_play import chosen, models_at, walks
from analysis.skill_models import restore_skills
from analysis.videos import main as film
from entry.start import launch
from training.skill_models import find
from utils.errors import UserError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three skills in a maze."""
    from settings_kit import compose_settings

    home = tmp_path_factory.mktemp("rest")
    words = (*DEBUG, "env=CenterMaze", "epochs=1", "use_tb=false", f"snapshot_base_dir={home / 'models'}")
    launch(compose_settings("rest", *words), home / "run", "rest")
    return home / "models"


def test_which_models_are_meant(models, tmp_path):
    newest = find(models, None, None, None)
    for path in (models / "run", newest.path, newest.path / "skill1" / "model.pt"):
        assert models_at(path) == newest
    older = models / "run" / "0" / "1" / "1"
    assert models_at(older).path == older != newest.path
    assert models_at(tmp_path) is None and models_at(tmp_path / "snapshot_100.pt") is None


def test_skills_by_number():
    assert chosen(3, "all") == [0, 1, 2] and chosen(3, "2,0") == [2, 0]
    for asked in ("3", "none", "", "0,,1"):
        with pytest.raises(UserError, match=f"skills={asked}"):
            chosen(3, asked)


def test_all_skills_begin_alike(models):
    restored = restore_skills(models_at(models / "run"))
    made = walks(restored, [2, 0], 2, seed=3, steps=4)
    starts = [[episode.path[0].tolist() for episode in one.episodes] for one in made]
    assert [one.name for one in made] == ["skill 2", "skill 0"] and starts[0] == starts[1]
    assert starts[0][0] != starts[0][1] and made[0].frames.shape == (0,)
    other = walks(restored, [2], 2, seed=4, steps=4)[0].episodes[0].path[0].tolist()
    assert other not in starts[0]


def test_returns_and_a_grid_are_written(models, tmp_path, capsys):
    words = [str(models / "run"), "episodes=2", "skills=0,2", "size=32"]
    words += [f"{end}={tmp_path}/a.{end}" for end in ("csv", "json")] + [f"video={tmp_path}/a.gif"]
    assert main(words) == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["played"], row["episode"]) for row in rows] == [
        *(("skill 0", "0"), ("skill 2", "0"), ("skill 0", "1"), ("skill 2", "1"))
    ]
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["task"] == "CenterMaze" and report["played"]["skill 2"]["interval"] == [0, 0]
    frames = np.asarray(imageio.v3.imread(tmp_path / "a.gif"))
    assert frames.shape[1:3] == (36, 70) and len(frames) == int(rows[0]["length"])
    assert "every return is 0" in capsys.readouterr().out


def test_filmed_again(models, tmp_path, capsys):
    assert film([str(models / "run"), "size=40", "steps=3", f"video={tmp_path}/b.gif"]) == 0
    assert np.asarray(imageio.v3.imread(tmp_path / "b.gif")).shape[:3] == (3, 86, 86)
    for words, said in ((["steps=0"], "steps=0"), (["task=Hopper"], "Hopper"), (["size=1"], "size=1")):
        assert film([str(models / "run"), *words, f"video={tmp_path}/c.gif"]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "c.gif").exists()
