"""Measures of trajectories, against counts by hand and slow sums."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.trajectories import cell_counts, locomotion_metrics, maze_metrics, mutual_information

ALL = np.ones((2, 2), bool)
A, B, C, D = (0.2, 0.3), (0.2, 0.9), (0.5, 0.0), (1.0, 1.0)  # one in each cell of 2 x 2, the last ones on edges


def path(*points):
    return np.array(points, np.float64)


def slow_information(counts):
    """Sum over skills and cells of p(s, z) log p(s, z) / (p(s) p(z))."""
    skills = len(counts)
    joint = [[count / sum(row) / skills for count in row] for row in counts]
    cells = [sum(row[c] for row in joint) for c in range(len(counts[0]))]
    terms = [p * math.log(p / (cells[c] / skills)) for row in joint for c, p in enumerate(row) if p > 0]
    return math.fsum(terms)


def test_cells_by_hand():
    assert cell_counts(path(A, B, C, D, A), ALL).tolist() == [2, 1, 1, 1]
    wide = np.ones((4, 2), bool)
    assert cell_counts(path((0.99, 0.1), (0.25, 0.5)), wide).tolist() == [0, 0, 0, 1, 0, 0, 1, 0]


def test_coverage_by_hand():
    """First trajectories: cells A, B. Second ones: A, C, D. Of four cells, then of three."""
    skills = [[path(A, A), path(C, D)], [path(B, A), path(A)]]
    found = maze_metrics(skills, ALL)
    assert found["state_coverage_percent_each"] == [50.0, 75.0] and found["state_coverage_percent"] == 62.5
    assert (found["grid"], found["cells"], found["blocked_cells"]) == ([2, 2], 4, 0)
    blocked = maze_metrics([[path(A)], [path(B)]], np.array([[True, True], [True, False]]))
    assert blocked["state_coverage_percent"] == pytest.approx(200 / 3)
    assert (blocked["cells"], blocked["blocked_cells"]) == (3, 1)


def test_information_by_hand():
    apart = maze_metrics([[path(A, A)], [path(B)], [path(C)], [path(D)]], ALL)
    assert apart["mutual_information"] == pytest.approx(math.log(4)) == apart["mutual_information_at_most"]
    assert (apart["log_base"], apart["states"]) == ("e", 5)
    alike = maze_metrics([[path(A, B)], [path(B, A)]], ALL)
    assert alike["mutual_information"] == pytest.approx(0, abs=1e-15)
    bits = maze_metrics([[path(A, B)], [path(B, C)]], ALL, log_base=2)
    # p(s) = 1/4, 1/2, 1/4: 1.5 bits; 1 bit each given the skill
    assert bits["mutual_information"] == pytest.approx(0.5) and bits["mutual_information_at_most"] == pytest.approx(1)
    assert bits["log_base"] == 2


def test_a_skill_with_longer_trajectories_counts_no_more():
    once = maze_metrics([[path(A)], [path(B, A)]], ALL)
    often = maze_metrics([[path(*[A] * 50)], [path(B, A)]], ALL)
    assert often["mutual_information"] == once["mutual_information"]


@given(st.integers(1, 6).flatmap(lambda cells: st.lists(
    st.lists(st.integers(0, 20), min_size=cells, max_size=cells).filter(any), min_size=1, max_size=5)))  # fmt: skip
def test_information_is_the_slow_sum(counts):
    found = mutual_information(np.array(counts))
    assert found == pytest.approx(slow_information(counts), abs=1e-12)
    assert -1e-12 <= found <= math.log(len(counts)) + 1e-12


def test_locomotion_by_hand():
    """Skill 0 runs to 2.5 and, once, to 3.5; skill 1 goes back to -0.5."""
    skills = [
        [path((0, 0), (1.2, 0), (2.5, 0)), path((0, 0), (4.0, 0), (3.7, 0), (3.5, 0))],
        [path((0.5, 0), (-0.5, 0)), path((0.5, 7), (-0.5, 9))],
    ]
    found = locomotion_metrics(skills)
    assert json.loads(json.dumps(found)) == found
    first, second = found["per_skill"]
    assert first["final_x"] == {"mean": 3.0, "std": 0.5} and first["length"] == {"mean": 2.5, "std": 0.5}
    assert first["max_x"] == {"mean": 3.25, "std": 0.75} and first["min_x"] == {"mean": 0.0, "std": 0.0}
    assert second["final_x"] == {"mean": -0.5, "std": 0.0} and second["skill"] == 1
    ours = found["not_in_paper"]
    assert ours["x_bins_visited"] == 6  # -1, 0, 1, 2, 3, 4
    # by bins of 1 m from -1: skill 0 is at 0 0 1 2 3 3 4, skill 1 at 0 0 and -1 -1
    expected = slow_information([[0, 2, 1, 1, 2, 1], [2, 2, 0, 0, 0, 0]])
    assert ours["x_mutual_information"] == pytest.approx(expected)
    assert ours["x_mutual_information_at_most"] == pytest.approx(math.log(2))
    assert ours["final_x_std_over_skills"] == pytest.approx(1.75)
    assert ours["final_x_range_over_skills"] == pytest.approx(3.5)


def test_what_a_measure_gives_is_json():
    found = maze_metrics([[path(A, B)], [path(C, D)]], ALL)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("measure", [lambda skills: maze_metrics(skills, ALL), locomotion_metrics])
def test_what_cannot_be_measured_is_refused(measure):
    for skills, named in (
        ([], "0 skills"),
        ([[], []], r"\[0\]"),
        ([[path(A)], [path(A), path(B)]], r"\[1, 2\]"),
        ([[np.zeros((0, 2))]], r"\(0, 2\)"),
        ([[np.zeros((4, 3))]], r"\(4, 3\)"),
        ([[path((0.5, math.nan))]], "finite"),
    ):
        with pytest.raises(ValueError, match=named):
            measure(skills)


def test_a_point_outside_of_the_maze_is_refused():
    with pytest.raises(ValueError, match=r"1\.5"):
        maze_metrics([[path((0.5, 1.5))]], ALL)
    with pytest.raises(ValueError, match="cell"):
        maze_metrics([[path(A)], [path(D)]], np.array([[True, True], [True, False]]))
