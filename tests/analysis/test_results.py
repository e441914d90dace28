"""Runs are read from wherever they are: run folders, sweeps, studies, tables."""

import pytest
from runs_kit import other_json, record, run_folder

from analysis.results import find, run
from utils.errors import UserError

CURVE = {0: 10.0, 100: 30.0}


def names(found):
    return sorted(one.name for one in found.results)


def test_a_run_folder(tmp_path):
    folder = run_folder(tmp_path / "run", CURVE, seed=4)
    [one] = find([str(folder)]).results
    assert one.curve == CURVE and one.task == "walker_walk" and one.last == 100
    expected = {"agent": "dreamer", "seed": 4, "model_opt.lr": 3e-4, "preset": "small", "agent.actor_ent": 1e-4}
    assert expected.items() <= one.facts.items()


def test_folders_of_folders_and_patterns_and_a_run_named_twice(tmp_path):
    for day, job in (("a", "0"), ("a", "1"), ("b", "0")):
        run_folder(tmp_path / day / job, CURVE)
    assert len(find([str(tmp_path)]).results) == 3
    assert names(find([str(tmp_path / "*" / "0")])) == [str(tmp_path / "a/0"), str(tmp_path / "b/0")]
    assert len(find([str(tmp_path / "a"), str(tmp_path / "a" / "0")]).results) == 2


def test_a_run_without_evaluations_shows_its_training(tmp_path):
    folder = run_folder(tmp_path / "run", CURVE, log="train.csv")
    assert run(folder).log == "train.csv"
    assert "eval" in str(folder / "eval.csv") and isinstance(run(folder, log="eval.csv"), str)


def test_a_run_without_a_value_is_left_out_and_named(tmp_path):
    run_folder(tmp_path / "good", CURVE)
    run_folder(tmp_path / "new", {})
    found = find([str(tmp_path)])
    assert len(found.results) == 1 and str(tmp_path / "new") in found.notes[0]
    with pytest.raises(UserError, match="new"):
        find([str(tmp_path / "new")])


def test_another_column(tmp_path):
    folder = run_folder(tmp_path / "run", {0: 1.0}, log="train.csv", column="model_loss")
    assert find([str(folder)], "model_loss").results[0].curve == {0: 1.0}
    with pytest.raises(UserError, match="train.csv.*episode_reward"):
        find([str(folder)])


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"snapshot_ts": None, "snapshot": "a/snapshot_5000.pt"}, ("walker_walk", 5000)),
        ({"snapshot_ts": None, "snapshot": "a/finetuned_snapshot.pt"}, ("walker_walk", "finetuned_snapshot.pt")),
        ({"task": "none", "domain": "jaco"}, ("jaco_reach_top_left", 0)),
    ],
)
def test_what_settings_leave_to_be_found(tmp_path, changed, expected):
    facts = run(run_folder(tmp_path / "run", CURVE, **changed)).facts
    assert (facts["task"], facts["snapshot_ts"]) == expected


def test_a_study_by_its_records_or_its_folder(tmp_path):
    results = tmp_path / "study" / "results"
    record(results, "lbs_dreamer", "walker_run", 3, CURVE, before=50, variant="fresh", words=['"overrides.x=1"'])
    other_json(results)
    run_folder(tmp_path / "study" / "runs" / "other", CURVE)
    (tmp_path / "study" / "study.json").write_text("{}")
    for place in (results, tmp_path / "study"):
        [one] = find([str(place)]).results
        assert one.name == "walker_run-lbs_dreamer-p1-50-s3-fresh" and one.curve == CURVE
        expected = {"agent": "lbs_dreamer", "seed": 3, "snapshot_ts": 50, "variant": "fresh", "overrides.x": "1"}
        assert expected.items() <= one.facts.items()
    with pytest.raises(UserError, match="y=model_loss"):
        find([str(results)], "model_loss")


def test_a_study_without_records_is_its_run_folders(tmp_path):
    run_folder(tmp_path / "runs" / "one", CURVE)
    (tmp_path / "study.json").write_text("{}")
    assert names(find([str(tmp_path)])) == [str(tmp_path / "runs/one")]


def test_a_damaged_record_is_named(tmp_path):
    record(tmp_path, "dreamer", "walker_run", 3, CURVE)
    [path] = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=path.name):
        find([str(tmp_path)])


TABLE = "run,agent,task,pretrain_seed,seed,pretrain_frames,variant,frame,return\n"


def test_a_table_of_returns(tmp_path):
    path = tmp_path / "returns.csv"
    path.write_text(
        TABLE + "a,lbs,walker_run,1,2,50,,0,3.5\na,lbs,walker_run,1,2,50,,10,4\nb,lbs,walker_run,,2,0,,0,1\n"
    )
    for word in (path, tmp_path):
        one, other = find([str(word)]).results
        assert one.curve == {0: 3.5, 10: 4} and one.facts["snapshot_ts"] == "50" and other.facts["snapshot_ts"] == "0"


@pytest.mark.parametrize(
    "text, said", [("a,b\n1,2\n", "run"), (TABLE + "a,b,c,1,1,0,,0,x\n", "x"), ("", "run"), ("\0", "returns")]
)
def test_what_is_no_table(tmp_path, text, said):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        find([str(path)])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("word", ["nowhere", "nowhere/*"])
def test_nothing_there(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        find([word])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        find(["empty"])
