"""Which return a run counts with, and over which tasks groups are compared."""

import pytest
from runs_kit import result

from analysis.scoring import GAP, URLB, Experts, card, domain_of, read_experts
from utils.errors import UserError

EXPERTS = Experts({"walker_walk": 100.0, "walker_run": 200.0, "jaco_reach_top_left": 50.0}, "a table")


def runs(agent, task, *values, frame=10):
    return [
        result(f"{agent}-{task}-{seed}", agent, task, seed, {0: 0.0, frame: value}) for seed, value in enumerate(values)
    ]


def test_expert_returns_of_the_benchmark():
    found = read_experts()
    assert found.returns["walker_flip"] == 799 and found.returns["quadruped_run"] == 888
    assert found.returns["jaco_reach_top_right"] == 223 and "url_benchmark" in found.source
    assert len(found.returns) == 12 and all(
        domain_of(task) in ("walker", "quadruped", "jaco") for task in found.returns
    )


@pytest.mark.parametrize("text", ["returns: {a: 0}", "returns: {a: big}", "returns: [1]", "source: x"])
def test_no_expert_returns(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="mine.yaml"):
        read_experts(path)
    with pytest.raises(UserError, match="none.yaml"):
        read_experts(tmp_path / "none.yaml")
    assert URLB.is_file()


def test_a_score_is_a_share_of_the_experts():
    made = card([*runs("a", "walker_walk", 50.0, 150.0), *runs("a", "walker_run", 50.0)], ["agent"], EXPERTS)
    assert made.scores("a") == [[0.5, 1.5], [0.25]] and made.rewards("a", "walker_walk") == [50, 150]
    assert made.aggregate("a", "mean").value == pytest.approx((1 + 0.25) / 2)
    assert made.aggregate("a", GAP).value == pytest.approx(1 - (0.75 + 0.25) / 2)
    assert made.notes == [] and made.scratch == []


def test_runs_are_judged_where_all_of_a_task_have_come():
    late = result("late", "a", "walker_walk", 7, {0: 1.0, 10: 2.0, 20: 3.0})
    other = runs("a", "walker_run", 5.0, frame=20)
    made = card([*runs("a", "walker_walk", 50.0), late, *other], ["agent"], EXPERTS)
    assert made.rewards("a", "walker_walk") == [50, 2] and made.rewards("a", "walker_run") == [5]
    [note] = made.notes
    assert "walker_walk" in note and "a-walker_walk-0" in note and "at=20" in note


def test_at_a_frame_of_ones_own():
    late = result("late", "a", "walker_walk", 7, {0: 1.0, 10: 2.0, 18: 3.0, 25: 4.0})
    made = card([*runs("a", "walker_walk", 50.0), late], ["agent"], EXPERTS, at=20)
    assert made.rewards("a", "walker_walk") == [3]  # its last evaluation before
    assert "a-walker_walk-0" in made.notes[0]
    with pytest.raises(UserError, match="at=30"):
        card([late], ["agent"], EXPERTS, at=30)


def test_the_largest_table_of_tasks_and_groups_is_compared():
    found = [
        *(one for agent in "abc" for task in ("walker_walk", "walker_run") for one in runs(agent, task, 1.0)),
        *runs("less", "walker_walk", 1.0),
        *runs("a", "jaco_reach_top_left", 1.0),
    ]
    made = card(found, ["agent"], EXPERTS)
    assert made.shared == ["walker_walk", "walker_run"] and made.whole == ["a", "b", "c"]
    assert any("less" in note for note in made.notes) and any("jaco_reach_top_left" in note for note in made.notes)
    assert made.groups == ["a", "b", "c", "less"] and made.rewards("less", "walker_walk") == [1]


def test_of_two_such_tables_the_one_with_more_groups():
    made = card(
        [*runs("a", "walker_walk", 1.0), *runs("a", "walker_run", 1.0), *runs("b", "walker_run", 1.0)],
        ["agent"],
        EXPERTS,
    )
    assert (made.shared, made.whole) == (["walker_run"], ["a", "b"])


def test_a_table_of_one_group_compares_nothing():
    alone = [one for task in ("walker_run", "jaco_reach_top_left") for one in runs("a", task, 1.0)]
    made = card([*runs("a", "walker_walk", 1.0), *runs("b", "walker_walk", 1.0), *alone], ["agent"], EXPERTS)
    assert (made.shared, made.whole) == (["walker_walk"], ["a", "b"])


def test_a_task_without_an_expert_counts_in_who_beats_whom():
    found = [
        one for agent, gain in (("a", 0), ("b", 9)) for one in runs(agent, "cartpole_swingup", 1.0 + gain, 2.0 + gain)
    ]
    made = card(found, ["agent"], EXPERTS)
    assert made.normalised == [] and made.aggregate("a", "IQM") is None
    assert made.improvement("b", "a") == (1, 1, 1) and made.sure("b", "a", made.improvement("b", "a"))
    assert any("cartpole_swingup" in note and "experts=" in note for note in made.notes)


def test_single_runs_make_nothing_sure():
    made = card([*runs("a", "walker_walk", 1.0), *runs("b", "walker_walk", 2.0)], ["agent"], EXPERTS)
    found = made.improvement("b", "a")
    assert found == (1, 1, 1) and not made.sure("b", "a", found)


def test_domains_and_from_scratch():
    found = [*runs("a", "walker_walk", 1.0), *runs("a", "jaco_reach_top_left", 1.0)]
    tuned = [one._replace(name=f"{one.name}t", facts={**one.facts, "snapshot_ts": 5}) for one in found]
    scratch = [one._replace(facts={**one.facts, "snapshot_ts": 0}) for one in found]
    made = card([*tuned, *scratch], ["agent", "snapshot_ts"], EXPERTS)
    assert made.domains == {"walker": ["walker_walk"], "jaco": ["jaco_reach_top_left"]}
    assert made.scratch == ["a, from scratch"] and made.groups == ["a, from scratch", "a, 5 frames before"]
    assert domain_of("my_task") == "my"
