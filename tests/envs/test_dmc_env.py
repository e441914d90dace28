"""Steps, spaces, seeds and saved states of DMCEnv, on states: nothing here renders."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from sweep_kit import sweep

from envs.custom_dmc_tasks import load
from envs.dmc import DMCEnv
from envs.make import DOMAINS, TASKS, make, validate_task

ALL_TASKS = [task for domain in ("walker", "quadruped", "jaco") for task in TASKS[domain]]  # others: test_suite_tasks
SOME = ("walker_stand", "walker_flip", "quadruped_run", "quadruped_jump", "jaco_reach_top_left")
BODIES = [("walker", "flip"), ("quadruped", "jump"), ("jaco", "reach_top_right")]
TIMESTEP = {"walker": 0.025, "quadruped": 0.02, "jaco": 0.04}
LEG = [[-1.0, 1.0], [-1.0, 1.1], [-0.8, 0.8]]  # native ranges of yaw, lift, extend
ARM = [[-np.pi / 5, np.pi / 5]] * 3 + [[-np.pi / 3.75, np.pi / 3.75]] * 3 + [[-5.0, 5.0]] * 3  # rad/s: 36, 48 degrees


def states_env(domain="walker", task="walk", **settings):
    return DMCEnv(domain, task, obs_type="states", **settings)


def actions_for(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def assert_same_steps(first, second, actions):
    """Steps both and compares everything they give, bit for bit."""
    for action in actions:
        for a, b in zip(first.step(action), second.step(action), strict=True):
            if isinstance(a, dict):
                assert a.keys() == b.keys()
                for key in a:
                    np.testing.assert_array_equal(a[key], b[key])
            else:
                assert a == b


@pytest.mark.parametrize("task", sweep(ALL_TASKS, SOME))
def test_episodes_have_their_full_length_and_end_by_truncation(task):
    env = make(task, obs_type="states")
    env.reset()
    action = np.zeros(env.action_space.shape, np.float32)
    frames = steps = 0
    truncated = False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(action)
        assert isinstance(reward, float) and 0.0 <= reward <= 2.0 and terminated is False
        frames, steps = frames + info["frames"], steps + 1
    domain, _ = validate_task(task)
    length = {"jaco": 250}.get(domain, 1000)
    assert (frames, steps) == (length, length // 2) and length == DOMAINS[domain].control_steps
    assert env.physics.time() == pytest.approx(length * TIMESTEP[domain])
    with pytest.raises(ResetNeeded):
        env.step(action)


@pytest.mark.parametrize(("repeat", "steps"), [(1, 1000), (4, 250), (3, 334)])
def test_frames_counts_the_control_steps_really_executed(repeat, steps):
    env = states_env(action_repeat=repeat)
    env.reset()
    counts, truncated = [], False
    while not truncated:
        *_, truncated, info = env.step(np.zeros(6))
        counts.append(info["frames"])
    assert len(counts) == steps and sum(counts) == 1000
    assert set(counts[:-1]) == {repeat}


@pytest.mark.parametrize("task", ALL_TASKS)
def test_reward_is_the_sum_over_the_repeat_of_the_native_environment(task):
    env, raw = make(task, obs_type="states", seed=5, action_repeat=5), load(*validate_task(task), seed=5)
    observation, info = env.reset()
    time_step = raw.reset()
    np.testing.assert_array_equal(info["physics"], raw.physics.get_state())
    low, high = raw.action_spec().minimum, raw.action_spec().maximum
    for action in actions_for(env, 20):
        observation, reward, _, _, info = env.step(action)
        expected = 0.0
        for _ in range(5):
            time_step = raw.step(low + (action.astype(np.float64) + 1) / 2 * (high - low))
            expected += float(time_step.reward)
        assert reward == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(info["physics"], raw.physics.get_state(), atol=1e-9)
        flat = np.concatenate([np.ravel(part) for part in time_step.observation.values()])
        np.testing.assert_allclose(observation["observation"], flat, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("domain", "task", "actions", "width"),
    # of jaco: sine and cosine, velocity, torque of 6 joints; angle, velocity of 3 fingers; place and rotation matrix of
    # the tool; velocities and pose of the brick
    [("walker", "run", 6, 24), ("quadruped", "run", 12, 78), ("jaco", "reach_top_left", 9, 24 + 6 + 12 + 13)],
)
def test_spaces_and_gymnasium_contract(domain, task, actions, width):
    env = states_env(domain, task)
    assert env.action_space.shape == (actions,) and env.action_space.dtype == np.float32
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    space = env.observation_space["observation"]
    assert space.shape == (width,) and space.dtype == np.float32
    check_env(env, skip_render_check=True)
    _, info = env.reset()
    assert info["physics"].dtype == np.float64 and info["frames"] == 0
    info["physics"][:] = 7.0  # a copy: the simulation does not change
    assert not (env.physics.get_state() == 7.0).any()
    assert env.metadata["render_fps"] == {"walker": 20, "quadruped": 25, "jaco": 12}[domain]


@pytest.mark.parametrize(
    ("domain", "task", "ranges"),
    [("walker", "walk", [[-1.0, 1.0]] * 6), ("quadruped", "walk", LEG * 4), ("jaco", "reach_top_left", ARM)],
)
def test_actions_map_affinely_to_the_native_range(domain, task, ranges):
    env = states_env(domain, task, action_repeat=1)
    low, high = np.array(ranges).T
    for value in (-1.0, -0.5, 0.0, 0.25, 1.0):
        env.reset()
        env.step(np.full(len(low), value, np.float32))
        # the model file of jaco rounds at the ninth digit
        np.testing.assert_allclose(env.physics.data.ctrl, low + (value + 1) / 2 * (high - low), atol=1e-8)
        least, most = env.physics.model.actuator_ctrlrange.T
        assert (env.physics.data.ctrl >= least).all() and (env.physics.data.ctrl <= most).all()


@pytest.mark.parametrize(("domain", "task"), BODIES)
def test_actions_outside_the_box_act_as_the_clipped_ones(domain, task):
    wide, clipped = states_env(domain, task), states_env(domain, task)
    wide.reset(), clipped.reset()
    actions = 4 * actions_for(wide, 10)
    assert np.abs(actions).max() > 3
    for action in actions:
        one, other = wide.step(action), clipped.step(np.clip(action, -1, 1))
        np.testing.assert_array_equal(one[4]["physics"], other[4]["physics"])
    assert np.abs(wide.get_state()["actions"]).max() == 1.0


def test_bad_actions_are_refused():
    env = states_env()
    env.reset()
    with pytest.raises(ValueError, match="NaN"):
        env.step(np.array([0, 0, np.nan, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"\(5,\).*\(6,\)"):
        env.step(np.zeros(5))
    assert env.get_state()["actions"].shape == (0, 6)


def test_step_before_reset_is_refused():
    with pytest.raises(ResetNeeded, match="reset"):
        states_env().step(np.zeros(6))


@pytest.mark.parametrize(("domain", "task"), BODIES)
def test_seeds_make_the_episodes(domain, task):
    first, second, third = (states_env(domain, task, seed=seed) for seed in (1, 1, 2))
    starts = [[env.reset()[1]["physics"] for _ in range(3)] for env in (first, second, third)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[0][0], starts[0][1])
    np.testing.assert_array_equal(first.reset(seed=2)[1]["physics"], starts[2][0])
    np.testing.assert_array_equal(first.reset()[1]["physics"], starts[2][1])


@pytest.mark.parametrize(("domain", "task"), BODIES)
@pytest.mark.parametrize("steps", [0, 1, 37, -1])  # -1: all but one
def test_a_restored_episode_and_the_next_ones_are_bit_identical(domain, task, steps):
    length = DOMAINS[domain].control_steps // 2
    steps %= length
    env = states_env(domain, task, seed=4)
    env.reset(), env.reset()  # not the first episode
    for action in actions_for(env, steps):
        observation, *_ = env.step(action)
    if steps == 0:
        observation = env.last_observation()
    state = env.get_state()
    assert state["running"] and state["actions"].shape == (steps, *env.action_space.shape)

    other = states_env(domain, task, seed=99)
    other.reset()
    other.step(actions_for(other, 1, seed=9)[0])
    restored = other.set_state(state)
    np.testing.assert_array_equal(restored["observation"], observation["observation"])
    np.testing.assert_array_equal(env.physics.get_state(), other.physics.get_state())
    np.testing.assert_array_equal(env.physics.data.qacc_warmstart, other.physics.data.qacc_warmstart)
    for a, b in zip(env.random_state.get_state(), other.random_state.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same_steps(env, other, actions_for(env, min(60, length - steps), seed=1))
    for _ in range(2):
        np.testing.assert_array_equal(env.reset()[1]["physics"], other.reset()[1]["physics"])
    assert_same_steps(env, other, actions_for(env, 20, seed=2))


def test_a_state_between_episodes_restores_the_next_ones():
    env = states_env()
    env.reset()
    while not env.step(np.zeros(6))[3]:
        pass
    state = env.get_state()
    assert not state["running"] and state["actions"].shape == (0, 6)
    other = states_env(seed=99)
    other.reset()
    assert other.set_state(state) is None
    assert not other.last_observation()["observation"].any()
    with pytest.raises(ResetNeeded):
        other.step(np.zeros(6))
    for _ in range(2):
        np.testing.assert_array_equal(env.reset()[1]["physics"], other.reset()[1]["physics"])


def test_states_are_plain_and_independent_of_the_environment():
    env = states_env()
    env.reset()
    env.step(np.ones(6))
    state = env.get_state()
    assert {type(value) for value in state["random"].values()} == {np.ndarray, int, float}
    assert type(state["running"]) is bool and state["actions"].dtype == np.float32
    env.step(np.ones(6)), env.reset()
    assert state["actions"].shape == (1, 6)
    env.set_state(state)
    again = env.get_state()
    np.testing.assert_array_equal(again["random"]["key"], state["random"]["key"])
    np.testing.assert_array_equal(again["actions"], state["actions"])


def test_states_that_do_not_fit_are_refused():
    env, walker = states_env("quadruped", "walk"), states_env()
    walker.reset(), walker.step(np.zeros(6))
    with pytest.raises(ValueError, match=r"\(6,\), not \(12,\)"):
        env.set_state(walker.get_state())
    state = walker.get_state()
    state["actions"] = np.zeros((501, 6), np.float32)
    with pytest.raises(ValueError, match="501 actions"):
        walker.set_state(state)
