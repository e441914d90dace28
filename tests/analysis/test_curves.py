"""Averaged curves, by hand."""

import pytest
from runs_kit import result

from analysis.curves import MOST_POINTS, averaged
from utils.statistics import Interval


def runs(*curves, tasks=None):
    tasks = tasks or ["walker_walk"] * len(curves)
    pairs = zip(curves, tasks, strict=True)
    return [result(f"r{i}", task=task, seed=i, curve=curve) for i, (curve, task) in enumerate(pairs)]


def test_the_same_evaluations():
    found = averaged("a", runs({0: 1.0, 10: 2.0}, {0: 3.0, 10: 4.0}, {0: 5.0, 10: 9.0}))
    assert (found.frames, found.runs, found.notes) == ([0, 10], 3, [])
    assert [point.value for point in found.points] == [3, 5]
    assert 1 <= found.points[0].low < 3 < found.points[0].high <= 5


def test_iqm_and_mean():
    four = runs(*({0: value} for value in (1.0, 2.0, 3.0, 100.0)))
    assert averaged("a", four).points[0].value == 2.5
    assert averaged("a", four, "mean").points[0].value == 26.5


def test_it_ends_where_the_first_run_ends_and_says_so():
    found = averaged("a", runs({0: 1.0, 10: 2.0, 20: 3.0}, {0: 3.0, 10: 4.0}))
    assert found.frames == [0, 10] and found.points[1].value == 3
    [note] = found.notes
    assert "r1" in note and "10" in note and "20" in note


def test_between_two_evaluations_lies_a_line():
    found = averaged("a", runs({0: 0.0, 10: 10.0, 20: 20.0}, {0: 100.0, 20: 0.0}))
    assert found.frames == [0, 10, 20]
    assert [point.value for point in found.points] == [50, 30, 10]
    assert len(found.notes) == 1


def test_it_begins_where_all_have_begun():
    found = averaged("a", runs({0: 0.0, 10: 10.0}, {4: 1.0, 10: 1.0}))
    assert found.frames == [4, 10] and found.points[0].value == pytest.approx((4 + 1) / 2)


def test_nothing_in_common():
    found = averaged("a", runs({0: 0.0, 3: 1.0}, {5: 1.0, 9: 1.0}))
    assert found.points == [] and "a" in found.notes[-1]


def test_tasks_are_resampled_for_themselves():
    """With a run each there is but one resample, however far they are apart."""
    found = averaged("a", runs({0: 1.0}, {0: 99.0}, tasks=["walker_walk", "walker_run"]))
    assert found.points == [Interval(50, 50, 50)]


def test_not_more_points_than_can_be_seen():
    found = averaged("a", runs({frame: float(frame) for frame in range(1000)}))
    assert len(found.frames) == MOST_POINTS and (found.frames[0], found.frames[-1]) == (0, 999)
    assert found.points[-1].value == 999


def test_drawn():
    found = averaged("a", runs({0: 1.0, 10: 2.0})).curve(dashed=True)
    assert (found.name, list(found.x), list(found.y), found.dashed) == ("a", [0, 10], [1, 2], True)
