"""Numbers of the report, worked out by hand."""

import pytest

from studying.numbers import Arm, Gain, by_amount, by_arm, choices, curve, final, gain, variants
from studying.plan import Planned
from studying.records import Record
from utils.statistics import Interval


def record(agent, task, values, seed=1, before=100, variant="", pretrain_seed=1, **facts):
    """Of a run whose evaluations are ``values`` by frame."""
    source = None if before == 0 else pretrain_seed
    run = Planned("finetune", agent, "walker", task, source, seed, before, variant, 20, ())
    return Record(run, {"seconds": 1.0, **facts}, [{"frame": f, "return": v} for f, v in values.items()])


def several(agent, task, columns, **more):
    """Runs of the seeds 1, 2, ..., whose returns are the columns of ``columns`` by frame."""
    count = len(next(iter(columns.values())))
    return [record(agent, task, {f: v[i] for f, v in columns.items()}, seed=i + 1, **more) for i in range(count)]


SCRATCH = several("dreamer", "a", {0: [10, 10, 10], 10: [20, 30, 40], 20: [50, 60, 70]}, before=0)
GOOD = several("lbs", "a", {0: [10, 10, 10], 10: [35, 45, 55], 20: [90, 95, 100]})
BEST = several("choreo", "a", {0: [10, 20, 30], 10: [45, 50, 55], 20: [90, 95, 100]})


def test_arms():
    runs = by_arm([*GOOD, *SCRATCH, record("lbs", "b", {0: 1.0}, variant="fresh")])
    assert list(runs) == [Arm("dreamer", 0, ""), Arm("lbs", 100, ""), Arm("lbs", 100, "fresh")]
    assert [str(arm) for arm in runs] == [
        "dreamer, from scratch",
        "lbs, 100 frames before",
        "lbs, 100 frames before, fresh",
    ]
    assert str(Arm("x", 1_500_000, "")) == "x, 1.5M frames before"


def test_a_curve_has_the_frames_that_all_runs_have():
    points = curve({"a": [*GOOD, record("lbs", "a", {0: 10.0, 10: 65.0, 30: 1.0})]}, ["a"])
    assert [(point.frame, point.runs) for point in points] == [(0, 4), (10, 4)]
    assert points[0].found == Interval(10, 10, 10)
    assert points[1].found.value == 50  # of 35, 45, 55, 65 the two in the middle
    assert 35 <= points[1].found.low < 50 < points[1].found.high <= 65


def test_all_tasks_count_all_runs():
    point = final({"a": GOOD, "b": [record("lbs", "b", {20: 5.0})]}, ["a", "b"])
    assert point.runs == 4 and point.found.value == (90 + 95) / 2
    assert final({"a": []}, ["a"]) is None


def test_a_gain():
    assert gain({"a": GOOD}, {"a": SCRATCH}, ["a"]) == Gain(pytest.approx((35, 25, 45), abs=4), 20, True)
    assert gain({"a": BEST}, {"a": SCRATCH}, ["a"]).apart_from == 10
    assert gain({"a": SCRATCH}, {"a": BEST}, ["a"]) == Gain(pytest.approx((-35, -45, -25), abs=4), 10, False)
    same = gain({"a": SCRATCH}, {"a": SCRATCH}, ["a"])
    assert same.difference.value == 0 and same.apart_from is None


def test_apart_means_to_the_end():
    late = several("late", "a", {0: [90, 91, 92], 10: [20, 30, 40], 20: [90, 95, 100]})
    assert gain({"a": late}, {"a": SCRATCH}, ["a"]).apart_from == 20
    lost = several("lost", "a", {0: [90, 91, 92], 10: [90, 91, 92], 20: [50, 60, 70]})
    assert gain({"a": lost}, {"a": SCRATCH}, ["a"]).apart_from is None


def test_a_gain_needs_common_tasks_and_frames():
    assert gain({"a": GOOD}, {"b": SCRATCH}, ["a", "b"]) is None
    assert gain({"a": [record("x", "a", {7: 1.0})]}, {"a": SCRATCH}, ["a"]) is None


def test_amounts_and_variants():
    less, fresh = several("lbs", "a", {20: [1, 2]}, before=50), several("lbs", "a", {20: [1, 2]}, variant="fresh")
    runs = by_arm([*GOOD, *fresh, *less, *SCRATCH, *BEST])
    assert by_amount(runs) == {("lbs", "a"): [Arm("lbs", 50, ""), Arm("lbs", 100, "")]}
    assert variants(runs) == [(Arm("lbs", 100, "fresh"), Arm("lbs", 100, ""))]


def test_the_chosen_skill():
    skills = Planned("skills", "sd3", "walker", "a", 1, 0, 100, "", 0, ())
    table = [{"skill": name, "return": value} for name, value in (("skill 0", 5), ("skill 1", 9), ("skill 2", 7))]
    made = {"chosen_skill": {"frame": 4000, "skill": "skill 2", "why": "reward"}}
    tuned, other = record("sd3", "a", {0: 1.0}, **made), record("sd3", "a", {0: 1.0}, pretrain_seed=2, **made)
    [found] = choices([Record(skills, {"seconds": 1.0}, table), tuned, other, *GOOD])
    assert (found.skill, found.chosen, found.best_skill, found.best, found.mean) == ("skill 2", 7, "skill 1", 9, 7)
    assert (found.rank, found.skills, found.frame, found.record) == (2, 3, 4000, tuned)
