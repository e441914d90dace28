"""Meta-World's reach: rewards, lengths, pictures, save and restore; and that nothing of it is loaded in vain."""

import subprocess
import sys

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from envs.contract import Sizes, Wanted, check_env
from envs.goals import GOALS, reach_goals
from envs.make import EnvSettings, make, resolve_task, sizes, validate_task
from envs.metaworld import Reach, at_goal
from utils.errors import UserError

LITE = {"render_quality": "lite"}


@pytest.fixture(scope="module")
def reach():
    """One that is aimed anew by every test."""
    return Reach(2, reach_goals(0))


def actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32)


@pytest.mark.parametrize("obs_type", ["pixels", "states"])
def test_the_contract(obs_type):
    made = [make("mw_reach", obs_type, seed=3, **LITE) for _ in range(2)]
    image = obs_type == "pixels"
    for env in made:
        box = env.observation_space["observation"]
        assert (box.shape, box.dtype) == (((3, 64, 64), np.uint8) if image else ((39,), np.float32))
    assert check_env(*made, Wanted(obs_type, 64)) == Sizes(4, None, 250) == sizes(EnvSettings("mw_reach", obs_type))
    for env in made:
        env.close()


def test_a_step_is_paid_for_every_control_step_within_five_centimetres(reach):
    """And for nothing else; success is any of them."""
    assert (reach_goals(0)[2, 3:] > [-0.45, 0.4, 0.1]).all()  # within the hand's reach
    reach.aim(2)
    reach.reset(seed=0)
    alone = Reach(1, reach_goals(0), task_id=2)
    alone.reset(seed=0)
    paid = []
    for _ in range(80):
        action = reach.towards_goal()
        _, reward, terminated, truncated, info = reach.step(action)
        within = 0
        for _ in range(2):
            _, single, *_ = alone.step(action)
            assert single == (alone.distance <= 0.05)
            within += single
        assert reward == within and info == {"success": within > 0, "goal": 2} and not terminated and not truncated
        paid.append(reward)
    assert paid[0] == 0 and paid[-1] == 2 and paid == sorted(paid)  # it goes there, and stays


def test_an_episode_has_500_control_steps_and_goes_on_after_a_success(reach):
    reach.aim(2)
    reach.reset(seed=0)
    total = sum(reach.step(reach.towards_goal())[1] for _ in range(249))
    _, reward, terminated, truncated, _ = reach.step(reach.towards_goal())
    assert (terminated, truncated, reward) == (False, True, 2.0) and 200 < total < 498
    assert make("mw_reach", "states", action_repeat=10).get_wrapper_attr("max_episode_steps") == 50


def test_the_goal_is_where_it_is_aimed_and_not_in_the_observation(reach):
    reach.aim(7)
    seen, info = reach.reset(seed=5)
    assert info["goal"] == 7 and np.array_equal(reach.target, reach_goals(0)[7, 3:])
    assert seen.shape == (39,) and not seen[-3:].any()
    np.testing.assert_allclose(seen[4:6], reach_goals(0)[7, :2], atol=1e-3)  # the puck
    reach.aim(8)
    assert np.array_equal(reach.target, reach_goals(0)[7, 3:])  # not before the next episode
    assert reach.reset()[1]["goal"] == 8
    reach.aim(None)
    drawn = [reach.reset(seed=seed)[1]["goal"] for seed in range(40)]
    assert len(set(drawn)) > 15 and drawn == [reach.reset(seed=seed)[1]["goal"] for seed in range(40)]
    with pytest.raises(UserError, match="task_id=50.*49"):
        reach.aim(GOALS)


def test_an_episode_depends_on_its_goal_and_actions_alone(reach):
    """Not on what this instance has done before, nor on whether it was looked at."""
    reach.aim(3)
    fresh, steps = Reach(2, reach_goals(0), task_id=3), actions(12)
    fresh.camera = 16, "lite"
    first = [fresh.reset(seed=0)[0], *(fresh.step(action)[0] for action in steps)]
    for look in (False, True, False):
        again = [fresh.reset(seed=9)[0]]
        for action in steps:
            again.append(fresh.step(action)[0])
            if look:
                fresh.render()
        assert np.array_equal(first, again)
    fresh.close()
    reach.reset(seed=1)
    assert np.array_equal(first[1:], [reach.step(action)[0] for action in steps])


def test_restored_in_another_instance_it_goes_on_bit_for_bit():
    """Pictures too; the second episode, of a goal of its own."""
    one, other = (make("mw_reach", seed=8, **LITE) for _ in range(2))
    one.reset()
    one.step(actions(1)[0])
    one.reset()
    for action in actions(20):
        one.step(action)
    seen = other.set_state(one.get_state())
    assert np.array_equal(seen["observation"], one.last_observation()["observation"])
    assert other.unwrapped.target.tolist() == one.unwrapped.target.tolist()
    for action in actions(10, seed=1):
        (a, *rest), (b, *same) = one.step(action), other.step(action)
        assert np.array_equal(a["observation"], b["observation"]) and rest == same
    for env in (one, other):
        env.close()


def test_actions_are_clipped_and_checked(reach):
    reach.aim(0)
    results = []
    for action in (np.array([9.0, -9, 0.5, 3]), np.array([1.0, -1, 0.5, 1])):
        reach.reset(seed=0)
        results.append(reach.step(action)[0])
    assert np.array_equal(*results)
    for wrong in (np.zeros(3), np.full(4, np.nan)):
        with pytest.raises(ValueError, match="action"):
            reach.step(wrong)
    env = make("mw_reach", "states")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(4))


@pytest.fixture(scope="module")
def pictures():
    """By quality: the first picture of goal 0, one of goal 1, and a large one of goal 1."""
    found = {}
    for quality in ("full", "lite"):
        env = make("mw_reach", seed=0, render_quality=quality, task_id=0)
        first = env.reset()[0]["observation"]
        env.unwrapped.aim(1)
        env.reset()
        found[quality] = first.transpose(1, 2, 0).astype(int), env.render().astype(int), env.render_at(128)
        env.close()
    return found


def test_pictures_are_upright_and_show_the_goal(pictures):
    for quality, (first, second, large) in pictures.items():
        assert first.shape == second.shape == (64, 64, 3) and large.shape == (128, 128, 3)
        wall, table = first[:6, 30:45].reshape(-1, 3), first[45:60, 10:35].reshape(-1, 3)
        assert np.ptp(wall.mean(0)) < 10, quality  # grey
        assert table[:, 0].mean() - table[:, 2].mean() > 25, quality  # wood
        moved = (np.abs(first - second).max(-1) > 40).sum()
        assert 4 < moved < 200, quality  # the dot and the puck are elsewhere
        small = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(small - second).mean() < 12, quality


def test_lite_leaves_out_shadows_and_smooth_edges_alone(pictures):
    (full, *_), (lite, *_) = pictures["full"], pictures["lite"]
    assert 1 < np.abs(full - lite).mean() < 20
    again = make("mw_reach", seed=0, task_id=0, **LITE)
    assert np.array_equal(again.reset()[0]["observation"].transpose(1, 2, 0), lite)
    again.close()


def test_what_is_seen_at_a_goal_is_the_hand_there():
    env = make("mw_reach", "states", seed=0)
    env.reset()
    for goal, near in ((2, 0.01), (0, 0.12)):  # the second lies beyond the hand's box
        seen = at_goal(env, goal)
        place = reach_goals(0)[goal, 3:]
        assert seen.shape == (39,) and env.unwrapped.distance < near
        # the tool centre lies 4.5 cm below what the observation calls the hand
        assert np.linalg.norm(seen[:3] - [0, 0, 0.045] - place) < near + 0.01
        assert env.unwrapped.aimed is None
    assert env.unwrapped.distance >= 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: validate_task("mw_push"), ["task=mw_push", "mw_reach"]),
        (lambda: validate_task("mw_reech"), ["Did you mean task=mw_reach?"]),
        (lambda: resolve_task("mw", "walker_run"), ["task=walker_run", "domain=mw", "mw_reach"]),
        (lambda: resolve_task("mww", None), ["Did you mean domain=mw?"]),
        (lambda: make("mw_reach", action_repeat=3), ["action_repeat=3", "500", "1, 2, 4, 5, 10"]),
        (lambda: make("mw_reach", "states", task_id=50), ["task_id=50", "49"]),
        (lambda: make("walker_run", "states", task_id=5), ["task_id=5", "task=walker_run", "task=mw_reach"]),
        (lambda: make("jaco_reach_top_left", goal_seed=5), ["goal_seed=5", "task=jaco_reach_top_left"]),
        (lambda: make("x", env_factory="own_kit.make", goal_seed=1), ["goal_seed=1", "env_factory=own_kit.make"]),
    ],
)
def test_errors_name_the_key_the_value_and_the_fix(call, words):
    with pytest.raises(UserError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_without_meta_world_that_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.envs.sawyer_reach_v3", None)
    with pytest.raises(UserError, match=r"task=mw_reach.*pip install -e '\.\[metaworld\]'"):
        make("mw_reach", "states")


def test_nobody_loads_it_who_does_not_want_it():
    script = """
import sys
from envs.make import EnvSettings, make, sizes
assert sizes(EnvSettings("mw_reach")).steps == 250
make("walker_run", "states").reset()
assert not [name for name in sys.modules if name.startswith("metaworld")]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
