"""Rewards of other tasks against those that environments gave, and against ExORL's own way to compute them."""

import numpy as np
import pytest
from sweep_kit import sweep

from envs.custom_dmc_tasks import load
from envs.make import DOMAINS, TASKS, body, make, validate_task
from envs.relabel import HIDDEN_DOMAINS, HIDDEN_TASKS, check_relabel, relabeller
from utils.errors import UserError


def rollout(task, steps=30):
    """States (steps + 1, P), the first of a reset, and rewards (steps,) of random actions."""
    env = make(task, obs_type="states", action_repeat=1, seed=2, exorl=True)
    env.action_space.seed(0)
    states, rewards = [env.reset()[1]["physics"]], []
    for _ in range(steps):
        _, reward, _, _, info = env.step(env.action_space.sample())
        states.append(info["physics"])
        rewards.append(reward)
    return np.stack(states), np.array(rewards, np.float32)


def of_a_reset(task, states):
    """As ExORL does: every state is set in a reset of its own."""
    env = load(*validate_task(task), seed=1, exorl=True)
    env.reset()
    found = []
    for state in states:
        with env.physics.reset_context():
            env.physics.set_state(state)
        found.append(env.task.get_reward(env.physics))
    return np.array(found, np.float32)


@pytest.mark.parametrize("domain", ["walker", "quadruped", "jaco", "cheetah"])
def test_every_task_from_the_states_of_another(domain):
    tasks = [task for task in TASKS[domain] if task != "quadruped_fetch"]  # another body
    states, _ = rollout(tasks[0])
    for task in tasks:
        found = relabeller(task)(states)
        assert found.dtype == np.float32 and found.shape == (31,)
        np.testing.assert_array_equal(found, of_a_reset(task, states))
        own, rewards = rollout(task)
        np.testing.assert_array_equal(relabeller(task)(own)[1:], rewards)
        assert np.ptp(rewards) > 0


def test_states_in_any_order_and_again():
    states, _ = rollout("walker_run")
    relabel = relabeller("walker_run")
    forwards = relabel(states)
    np.testing.assert_array_equal(relabel(states[::-1])[::-1], forwards)
    np.testing.assert_array_equal(relabel(states[3:4]), forwards[3:4])


POSSIBLE = [
    task for domain in TASKS for task in TASKS[domain] if domain not in HIDDEN_DOMAINS and task not in HIDDEN_TASKS
]


@pytest.mark.parametrize("task", sweep(POSSIBLE, ("cartpole_swingup", "hopper_stand", "pendulum_swingup")))
def test_the_rewards_are_those_of_a_reset(task):
    states, _ = rollout(task)
    np.testing.assert_array_equal(relabeller(task)(states), of_a_reset(task, states))


@pytest.mark.parametrize("task", ["reacher_easy", "swimmer_swimmer6", "finger_turn_hard", "manipulator_bring_ball"])
def test_rewards_that_depend_on_what_is_drawn(task):
    with pytest.raises(UserError, match=task):
        relabeller(task)


def test_hidden_names_exist():
    assert set(HIDDEN_DOMAINS) <= DOMAINS.keys()
    assert set(HIDDEN_TASKS) <= {task for tasks in TASKS.values() for task in tasks}


@pytest.mark.parametrize(
    "domain, task, named",
    [
        ("walker", "walker_fly", "walker_flip"),
        ("walker", "quadruped_run", "walker_run"),
        ("hoper", "hopper_hop", "domain=hoper"),
    ],
)
def test_tasks_that_are_none_of_the_domain(domain, task, named):
    with pytest.raises(UserError, match=named):
        check_relabel(domain, task)


def test_states_of_another_body():
    with pytest.raises(UserError, match="18 numbers.*31"):
        relabeller("jaco_reach_top_left")(np.zeros((2, 31)))
    assert body("jaco_reach_top_left").state == 31
    assert relabeller("jaco_reach_top_left", exorl=False)(np.zeros((2, 31))).shape == (2,)
