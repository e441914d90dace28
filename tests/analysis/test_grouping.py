"""What is averaged together, how it is called, and what has to be said of it."""

import pytest
from runs_kit import result

from analysis.grouping import by_group, check_key, group_keys, label, repetitions
from utils.errors import UserError

SCRATCH = [result(f"s{seed}", seed=seed, snapshot_ts=0, lr=1) for seed in (1, 2)]
TUNED = [result(f"t{seed}", "lbs_dreamer", seed=seed, snapshot_ts=150_000, lr=1) for seed in (1, 2)]


def test_without_by_it_is_the_agent_and_what_fine_tunings_differ_in():
    assert group_keys(SCRATCH, []) == ["agent"]
    assert group_keys([*SCRATCH, *TUNED], []) == ["agent", "snapshot_ts"]
    fresh = [one._replace(facts={**one.facts, "variant": "fresh"}) for one in TUNED]
    keys = group_keys([*TUNED, *fresh, *SCRATCH], [])
    assert keys == ["agent", "snapshot_ts", "variant"]
    assert list(by_group([*TUNED, *fresh, *SCRATCH], keys)) == [
        "dreamer, from scratch",
        "lbs_dreamer, 150k frames before",
        "lbs_dreamer, 150k frames before, fresh",
    ]


def test_keys_of_ones_own():
    assert group_keys(TUNED, ["agent", "lr", "agent"]) == ["agent", "lr"]
    assert label(TUNED[0], ["agent", "lr"]) == "lbs_dreamer, lr=1"
    assert label(TUNED[0], group_keys(TUNED, ["none"])) == "all runs"
    with pytest.raises(UserError, match="by=agnt.*by=agent"):
        group_keys(TUNED, ["agnt"])
    with pytest.raises(UserError, match="panel=zzzzzz.*panel=agent"):
        check_key("panel", "zzzzzz", TUNED)


def test_snapshots_of_a_data_set_count_updates():
    one = result("o", snapshot_ts=2_000_000, collection_method="rnd")
    assert label(one, ["agent", "snapshot_ts"]) == "dreamer, 2M updates before"
    assert label(result("p", snapshot_ts=None), ["agent", "snapshot_ts"]) == "dreamer"


def test_repetitions_differ_in_seeds_alone():
    assert repetitions({"a": SCRATCH}, ["agent"]) == []
    more = [result("other", seed=3, snapshot_ts=0, lr=2)]
    [note] = repetitions({"a": [*SCRATCH, *more]}, ["agent"])
    assert "lr" in note and "by=lr" in note
    assert repetitions({"lr=1": SCRATCH, "lr=2": more}, ["lr"]) == []
    assert repetitions({"a": [*SCRATCH, result("late", seed=9, snapshot_ts=0, lr=1, new_key=5)]}, ["agent"]) == []


def test_many_differences_are_a_few_notes():
    runs = [result(f"r{i}", seed=i, **{f"k{n}": i for n in range(6)}) for i in range(2)]
    notes = repetitions({"a": runs}, ["agent"])
    assert len(notes) == 4 and "k3, k4, k5" in notes[-1]


def test_a_seed_that_is_there_twice_is_told():
    [note] = repetitions({"a": [SCRATCH[0], SCRATCH[0]._replace(name="copy")]}, ["agent"])
    assert "seed=1" in note and "2" in note
    other = SCRATCH[0]._replace(facts={**SCRATCH[0].facts, "task": "walker_run"})
    assert repetitions({"a": [SCRATCH[0], other]}, ["agent"]) == []
