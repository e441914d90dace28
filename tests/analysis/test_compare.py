"""python -m analysis.compare: figures, the numbers they were drawn from, notes, refusals."""

import csv
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image
from runs_kit import run_folder

from analysis.compare import main


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two agents, two tasks, two seeds; one learns from scratch."""
    monkeypatch.chdir(tmp_path)
    for agent, before, gain in (("dreamer", 0, 1), ("lbs_dreamer", 500, 3)):
        for task in ("walker_walk", "walker_run"):
            for seed in (1, 2):
                curve = {0: 10.0 * seed, 100: 10.0 * seed + 100 * gain}
                more = {"task": task, "seed": seed, "snapshot_ts": before, "agent": {"name": agent}}
                run_folder(tmp_path / "runs" / f"{agent}_{task}_{seed}", curve, **more)
    return tmp_path


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_figure_and_its_numbers(runs, capsys):
    assert main(["runs", "out=made/all"]) == 0
    assert sorted(path.name for path in (runs / "made").iterdir()) == ["all.csv", "all.png", "all.svg"]
    rows = table(runs / "made/all.csv")
    assert len(rows) == 2 * 2 * 2
    last = [r for r in rows if r["panel"] == "walker_run" and r["frame"] == "100"]
    assert [(r["group"], float(r["value"]), float(r["low"]), float(r["high"]), r["runs"]) for r in last] == [
        ("dreamer, from scratch", 115, 110, 120, "2"),
        ("lbs_dreamer, 500 frames before", 315, 310, 320, "2"),
    ]
    out = capsys.readouterr().out
    assert "note" not in out and "315.0" in out
    drawn = ElementTree.parse(runs / "made/all.svg").getroot()
    assert len([one for one in drawn.iter() if one.get("id", "").startswith("axes_")]) == 2
    with Image.open(runs / "made/all.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**22)}
    assert (31, 119, 180) in colours and (64, 64, 64) in colours  # C0, and the grey of what is from scratch


def test_one_panel_by_seed(runs, capsys):
    assert main(["runs", "panel=none", "by=seed"]) == 0
    rows = table(runs / "comparison.csv")
    assert {(r["panel"], r["group"], r["runs"]) for r in rows} == {("", "seed=1", "4"), ("", "seed=2", "4")}
    out = capsys.readouterr().out
    assert "by=agent" in out and "snapshot_ts" in out  # averaged although they differ in these


def test_groups_with_other_tasks_are_no_match(runs, capsys):
    assert main(["runs/dreamer_*", "runs/lbs_dreamer_walker_run_*", "panel=none"]) == 0
    assert "lbs_dreamer, 500 frames before has no run of walker_walk" in capsys.readouterr().out


def test_a_run_that_has_just_begun_can_be_left_out(runs, capsys):
    run_folder(runs / "runs" / "new", {0: 1.0}, seed=3)
    assert main(["runs", "by=agent"]) == 0
    out = capsys.readouterr().out
    assert "runs/new" in out and "at=100" in out
    assert {
        r["frame"] for r in table(runs / "comparison.csv") if r["group"] == "dreamer" and r["panel"] == "walker_walk"
    } == {"0"}
    assert main(["runs", "at=100"]) == 0
    assert "runs/new" in capsys.readouterr().out and len(table(runs / "comparison.csv")) == 8
    assert main(["runs", "at=200"]) == 1


def test_training_beside_evaluations_is_told(runs, capsys):
    run_folder(runs / "runs" / "new", {0: 1.0, 100: 1.0}, log="train.csv", seed=3)
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert "runs/new" in out and "log=train" in out
    assert main(["runs", "log=eval"]) == 0
    assert "runs/new" in capsys.readouterr().out and len(table(runs / "comparison.csv")) == 8


@pytest.mark.parametrize(
    "words, said",
    [
        (["runs", "by=agnt"], ["by=agnt", "by=agent"]),
        (["runs", "panel=tusk"], ["panel=tusk", "panel=task"]),
        (["runs", "statistic=median"], ["median", "iqm"]),
        (["runs", "colour=red"], ["colour"]),
        (["runs", "y=model_loss"], ["model_loss", "eval.csv"]),
        (["nowhere"], ["nowhere"]),
        ([], ["RUNS"]),
    ],
)
def test_refusals_are_one_line(runs, capsys, words, said):
    before = sorted(runs.iterdir())
    if words == ["runs", "colour=red"]:
        words = ["runs", "--colour=red"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(part in error for part in said), error
    assert sorted(runs.iterdir()) == before


def test_nothing_else_is_written_over(runs, capsys):
    (runs / "comparison.csv").write_text("mine\n")
    assert main(["runs"]) == 1
    assert "comparison.csv" in capsys.readouterr().err and (runs / "comparison.csv").read_text() == "mine\n"
    assert main(["runs", "out=other"]) == 0 and main(["runs", "out=other"]) == 0
