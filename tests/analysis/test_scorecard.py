"""scorecard.py on runs with a known answer: the files, their numbers, the words, refusals."""

import csv
import shlex
from pathlib import Path

import pytest
from runs_kit import record, run_folder

from analysis.compare import parser as compare_parser
from analysis.published import Published
from analysis.results import find
from analysis.scorecard import main, parser, write
from utils.words import parse_words

FILES = {
    *("card.md", "card.csv", "card_runs.csv"),
    *(f"card_{part}.{end}" for part in ("scores", "profiles", "improvement") for end in ("png", "svg")),
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Three seeds on two tasks: half of the expert's return from scratch, 90 to 110 % of it after pre-training."""
    monkeypatch.chdir(tmp_path)
    for task, expert in (("walker_walk", 971), ("walker_run", 796)):
        for seed in (1, 2, 3):
            record(tmp_path / "kept", "dreamer", task, seed, {0: 0.0, 20: expert * 0.5})
            record(tmp_path / "kept", "lbs_dreamer", task, seed, {0: 0.0, 20: expert * (0.8 + 0.1 * seed)}, before=100)
    return tmp_path


def numbers(path):
    with path.open() as file:
        rows = csv.DictReader(file)
        return {
            (r["group"], r["tasks"], r["measure"]): (float(r["value"]), float(r["low"]), float(r["high"])) for r in rows
        }


def test_a_known_answer(study, capsys):
    assert main(["kept", "out=made/card"]) == 0
    assert {path.name for path in (study / "made").iterdir()} == FILES
    found = numbers(study / "made/card.csv")
    scratch, tuned = "dreamer, from scratch", "lbs_dreamer, 100 frames before"
    for name, value in (("IQM", 0.5), ("median", 0.5), ("mean", 0.5), ("optimality gap", 0.5)):
        assert found[scratch, "all tasks", name] == pytest.approx((value, value, value))
    # of six runs, 0.9, 0.9, 1, 1, 1.1, 1.1, one is cut at each end
    assert found[tuned, "all tasks", "IQM"][0] == pytest.approx(1)
    assert found[tuned, "all tasks", "mean"][0] == pytest.approx(1)
    assert found[tuned, "all tasks", "optimality gap"][0] == pytest.approx(0.1 / 3)
    low, high = found[tuned, "all tasks", "mean"][1:]
    assert 0.9 < low < 1 < high < 1.1
    assert found[tuned, "all tasks", f"probability of improvement over {scratch}"] == (1, 1, 1)
    assert found[scratch, "all tasks", f"probability of improvement over {tuned}"] == (0, 0, 0)
    assert found[tuned, "walker_run", "return"] == pytest.approx((796, 796 * 0.9, 796 * 1.1), abs=1)
    with (study / "made/card_runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and float(rows[0]["normalised"]) == pytest.approx(0.5)
    out = capsys.readouterr().out
    text = (study / "made/card.md").read_text()
    for said in (out, text):
        assert "| dreamer, from scratch | 6 | 0.500 | 0.500 | 0.500 | 0.500 |" in said
        assert "**1.00**" in said and "url_benchmark" in said
    assert "](card_scores.png)" in text and "](" not in out
    assert main(["kept", "out=made/card"]) == 0  # over its own files


def test_by_other_keys_at_another_frame_with_other_experts(study, capsys):
    (study / "mine.yaml").write_text("source: me\nreturns: {walker_walk: 971}\n")
    assert main(["kept", "by=seed", "at=0", "experts=mine.yaml"]) == 0
    found = numbers(study / "scorecard.csv")
    assert found["seed=2", "all tasks", "IQM"][0] == 0
    out = capsys.readouterr().out
    assert "walker_run" in out and "experts=" in out and "by=agent" in out


def test_run_folders_in_several_places(study, capsys):
    for seed in (1, 2):
        run_folder(study / f"jobs/{seed}", {0: 1.0, 10: 50.0}, seed=seed, task="walker_walk")
    run_folder(study / "jobs/new", {0: 99.0, 10: 99.0}, log="train.csv", seed=3)
    assert main(["jobs"]) == 0
    assert "jobs/new" in capsys.readouterr().out and "jobs/new" in (study / "scorecard.md").read_text()
    assert numbers(study / "scorecard.csv")["dreamer", "walker_walk", "return"] == (50, 50, 50)
    assert not (study / "scorecard_improvement.png").exists()  # a single group


def test_pairs_of_very_many_groups_are_not_compared(study, monkeypatch, capsys):
    monkeypatch.setattr("analysis.scorecard.MOST_DUELS", 1)
    assert main(["kept"]) == 0
    assert "here 2" in capsys.readouterr().out and not (study / "scorecard_improvement.png").exists()


def test_beside_what_is_published(study):
    results = find(["kept"]).results
    one = Published("lbs_dreamer", False, "", "walker_walk", 100.0, 9.0, False, None, "a paper")
    keys = ["agent", "snapshot_ts", "variant"]
    made = write(results, study / "card", keys=keys, published=[one, one._replace(agent="x")], level=3)
    text = "\n".join(made.paragraphs)
    assert "### Beside what is published" in text and "a paper" in text
    [row] = [line for line in text.splitlines() if "100 ± 9" in line and "lbs_dreamer" in line]
    assert "971" in row and "above" in row and "3 runs" in row
    assert "no runs of walker_walk" in text


def test_commands_of_the_page_are_taken():
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "compare.md").read_text(encoding="utf-8")
    lines = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("python ")]
    parsers = {"scorecard.py": parser, "-m": compare_parser}
    asked = [
        parse_words(words[1 + (name == "-m") :], parsers[name]()) for name, *rest in lines for words in [[name, *rest]]
    ]
    assert len(asked) == 4 and asked[1].by == ["agent", "num_envs"] and asked[3].at == 30000


@pytest.mark.parametrize(
    "words, said",
    [
        (["kept", "at=50"], ["at=50"]),
        (["kept", "at=soon"], ["soon"]),
        (["kept", "by=agnt"], ["by=agnt", "by=agent"]),
        (["kept", "experts=none.yaml"], ["none.yaml"]),
        (["nowhere"], ["nowhere"]),
        (["kept", "--ouut=x"], ["--ouut", "--out"]),
    ],
)
def test_refusals_are_one_line(study, capsys, words, said):
    before = sorted(study.iterdir())
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(part in error for part in said), error
    assert sorted(study.iterdir()) == before


def test_nothing_else_is_written_over(study, capsys):
    (study / "scorecard.md").write_text("my notes\n")
    assert main(["kept"]) == 1
    assert "scorecard.md" in capsys.readouterr().err and (study / "scorecard.md").read_text() == "my notes\n"
