"""rest_render.py: what it writes of trained skills, and what it refuses."""

import csv
import json
import shutil

import pytest
from run_kit import DEBUG

from analysis.rest_render import main, parser
from analysis.skill_models import restore_skills
from entry.start import launch
from training import checkpoint
from training.skill_models import find, model_path
from utils.errors import UserError
from utils.words import as_options


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Skills of a body and of a maze file, and the runs that made them."""
    from settings_kit import compose_settings

    home = tmp_path_factory.mktemp("rest")
    maze = home / "square.yaml"
    maze.write_text("walls: [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]\nstart: [0.5, 0.5]\nsteps: 30\n")
    runs = {}
    for name, env in (("body", "Hopper"), ("maze", str(maze))):
        words = (*DEBUG, f"env={env}", "epochs=1", "use_tb=false", f"snapshot_base_dir={home / name}")
        runs[name] = launch(compose_settings("rest", *words), home / f"run_{name}", "rest")
    maze.unlink()  # the models know their maze
    return home, runs


@pytest.mark.parametrize("kind", ["body", "maze"])
def test_everything_is_written_and_says_the_same(models, tmp_path, capsys, kind):
    home, runs = models
    words = [f"models={home / kind}", "--out", str(tmp_path), "episode_per_skill=2", "traj_len=20", "--videos", "0"]
    assert main(words) == 0
    stem = f"run_{kind}_0_2"
    made = sorted(path.name for path in (tmp_path / "renders").iterdir())
    figures = ["path.pdf", "path.png"] + (["path_each.pdf", "path_each.png"] if kind == "maze" else [])
    assert made == [f"{stem}_{end}" for end in ("metrics.json", "path.csv", *figures)]
    report = json.loads((tmp_path / "renders" / f"{stem}_metrics.json").read_text())
    assert report["num_skills"] == 3 and report["episodes_per_skill"] == 2 and report["actions"] == "sampled"
    with (tmp_path / "renders" / f"{stem}_path.csv").open() as file:
        rows = list(csv.DictReader(file))
    ends = [row for row, after in zip(rows, [*rows[1:], {"step": "0"}], strict=True) if after["step"] == "0"]
    assert len(ends) == 3 * 2
    said = capsys.readouterr().out
    if kind == "body":
        final = [sum(float(row["x"]) for row in ends if row["skill"] == str(k)) / 2 for k in range(3)]
        assert [one["final_x"]["mean"] for one in report["per_skill"]] == pytest.approx(final, abs=1e-4)
        assert "not in the paper" in said
    else:
        assert 0 < report["state_coverage_percent"] <= 100 and "state coverage" in said
    assert str(find(home / kind, None, None, None).path) in said


def test_the_restored_skills_act_as_those_that_were_trained(models):
    import torch

    home, runs = models
    found = restore_skills(find(home / "body", None, None, None))
    obs = torch.randn(4, 12)
    for skill in range(3):
        expected, _ = runs["body"].agent.act(obs, skill, "eval")
        torch.testing.assert_close(found.agent.act(obs, skill, "eval")[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["timestamp=run_bod"], ["timestamp=run_bod", "run_body"]),
        (["--epoch", "7"], ["epoch=7", "0"]),
        (["skid=0"], ["skid=0", "1, 2"]),
        (["env=HalfCheetah"], ["env=HalfCheetah", "env=Hopper"]),
        (["env=Hoper"], ["env=Hoper", "env=Hopper"]),
        (["videos=-1"], ["--videos=-1", "0"]),
        (["episode_per_skill=0"], ["--episode_per_skill=0", "1"]),
        (["deterministic=perhaps"], ["deterministic=perhaps", "true or false"]),
        (["episode_per_skill=1000000000"], ["--episode_per_skill=1000000000", "10000"]),
        (["--num_skills", "10"], ["--num_skills=10", "3 skills"]),
        (["--episode_per_skil", "2", "vidoes=3"], ["vidoes", "--videos"]),
        (["models=/nowhere"], ["/nowhere", "rest_train.py"]),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_refused_in_words(models, tmp_path, capsys, words, named):
    home, _ = models
    given = [f"models={home / 'body'}", "--out", str(tmp_path), "videos=0", *words]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert all(part in said for part in named) and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_run_among_them_is_refused(models, tmp_path):
    home, _ = models
    turned = find(home / "body", None, None, None)
    folder = tmp_path / "one" / "0" / "2" / "1"
    for skill in range(3):
        path = model_path(folder, skill)
        path.parent.mkdir(parents=True)
        source = model_path(find(home / "maze", None, None, None).path if skill == 1 else turned.path, skill)
        path.write_bytes(source.read_bytes())
    with pytest.raises(UserError, match="skill1"):
        restore_skills(find(tmp_path, None, None, None))
    checkpoint.load(model_path(folder, 1))  # as a file it is well


def test_options_are_written_either_way():
    words = ["env=Ant", "deterministic=true", "--epoch", "3", "seed=2", "what=ever"]
    assert as_options(words, parser()) == ["--env=Ant", "--deterministic", "--epoch", "3", "--seed=2", "what=ever"]
    assert as_options(["deterministic=false"], parser()) == []


def test_settings_that_ask_for_more_memory_than_the_weights_take_are_refused(models, tmp_path, capsys):
    home, _ = models
    shutil.copytree(home / "body", tmp_path / "models")
    path = model_path(find(tmp_path / "models", None, None, None).path, 0)
    content = checkpoint.load(path, "snapshot")
    content["config"]["ppo"]["hid_sizes"] = [1_000_000, 1_000_000]  # terabytes
    path.unlink()  # the file has other names
    checkpoint.save(path, "snapshot", {key: content[key] for key in content if key not in ("format", "kind")})
    assert main([f"models={tmp_path / 'models'}", "--out", str(tmp_path), "videos=0"]) == 1
    said = capsys.readouterr().err
    assert str(path) in said and "1000000" in said and "Traceback" not in said
