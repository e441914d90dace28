"""The sets of goals: numbers of the published ones, and what all of them keep to."""

import hashlib

import numpy as np
import pytest

from envs.goals import GOALS, PUBLISHED_SETS, reach_goals
from envs.make import EnvSettings, goals_of, places, with_goals
from envs.poses import POSES
from utils.errors import UserError

PUBLISHED = {  # (set, goal): to ten places
    (0, 0): (0.0136089124, 0.6925596546, 0.02, -0.3715836204, 0.3121310497, 0.4330479385),
    (0, 49): (-0.0481154878, 0.6373813243, 0.02, -0.2044602824, 0.5225116782, 0.1788217133),
    (9, 49): (0.0163370483, 0.6679983754, 0.02, 0.4009541194, 0.8140251892, 0.2444031712),
}
Z = 0.019999999552965164  # 0.02 in single precision
DIGEST = "5f1472a5f8e4f4a62268af36dcc306c8c27692b5c5520a1669c97d57c8be2633"


@pytest.mark.parametrize(("where", "numbers"), PUBLISHED.items())
def test_published_numbers(where, numbers):
    found = reach_goals(where[0])[where[1]]
    # the last place was cut or rounded
    np.testing.assert_allclose(np.delete(found, 2), np.delete(numbers, 2), rtol=0, atol=1e-10)
    assert found[2] == Z


def all_goals():
    return np.stack([reach_goals(number) for number in range(PUBLISHED_SETS)])


def test_ten_sets_of_fifty():
    goals = all_goals()
    assert goals.shape == (PUBLISHED_SETS, GOALS, 6) and goals.dtype == np.float64
    flat = goals.reshape(-1, 6)
    assert len(np.unique(flat, axis=0)) == 500
    low, high = flat.min(0).round(3), flat.max(0).round(3)
    assert low.tolist() == [-0.1, 0.6, 0.02, -0.448, 0.3, 0.102]
    assert high.tolist() == [0.099, 0.7, 0.02, 0.449, 0.898, 0.5]
    assert np.hypot(*(flat[:, :2] - flat[:, 3:5]).T).min() >= 0.15
    # of which 12 lie in the box that Meta-World's own goals are drawn from
    own = (np.abs(flat[:, 3]) <= 0.1) & (flat[:, 4] >= 0.8) & (flat[:, 4] <= 0.9) & (flat[:, 5] <= 0.3)
    assert own.sum() == 12
    assert hashlib.sha256(goals.tobytes()).hexdigest() == DIGEST


def test_the_recipe_step_by_step():
    """A number at a time, in double precision between bounds of single precision."""
    low = [float(np.float32(x)) for x in (-0.1, 0.6, 0.02, -0.45, 0.3, 0.1)]
    high = [float(np.float32(x)) for x in (0.1, 0.7, 0.02, 0.45, 0.9, 0.5)]
    random, found = np.random.RandomState(4), []
    while len(found) < GOALS:
        v = [a + (b - a) * random.random_sample() for a, b in zip(low, high, strict=True)]
        if ((v[0] - v[3]) ** 2 + (v[1] - v[4]) ** 2) ** 0.5 >= 0.15:
            found.append(v)
    assert np.array_equal(found, reach_goals(4))


def test_the_goals_of_settings():
    walker = [f"walker_{name}" for name in ("stand", "walk", "run", "flip")]
    jaco = [f"jaco_reach_{corner}" for corner in ("top_left", "top_right", "bottom_left", "bottom_right")]
    assert with_goals() == [*walker, *jaco, "mw_reach"]
    numbered = places(EnvSettings("mw_reach", seed=9))
    assert [number for number, _ in numbered] == list(range(GOALS))
    assert numbered[49][1] == pytest.approx(PUBLISHED[9, 49][3:], abs=1e-9)
    assert places(EnvSettings("mw_reach", seed=3, goal_seed=9, task_id=49)) == numbered[49:]
    assert places(EnvSettings("jaco_reach_top_right")) == [(0, (0.09, 0.09, 0.001))]
    heights = [z for _, (_, _, z) in places(EnvSettings("walker_run"))]
    assert len(heights) == len(POSES) and heights[0] == pytest.approx(1.3)
    assert goals_of("quadruped_run") is None
    with pytest.raises(UserError, match="task=quadruped_run.*jaco_reach_top_left.*mw_reach"):
        places(EnvSettings("quadruped_run"))
