"""Rewards and initial states against formulas written here from MuJoCo's raw arrays."""

import mujoco
import numpy as np
import pytest

from envs.custom_dmc_tasks import load
from envs.make import TASKS, validate_task

SUITES_OWN = ("quadruped_fetch",)  # its reward is dm_control's, see test_suite_tasks.py; jaco's: test_jaco.py
ALL_TASKS = [task for domain in ("walker", "quadruped") for task in TASKS[domain] if task not in SUITES_OWN]


def subtree(model, body):
    """Ids of ``body`` and everything below it."""
    members = {body}
    for child in range(body + 1, model.nbody):
        if model.body_parentid[child] in members:
            members.add(child)
    return sorted(members)


def centre_of_mass(model, data, body):
    members = subtree(model, body)
    mass = model.body_mass[members]
    return mass @ data.xipos[members] / mass.sum()


def centre_of_mass_velocity(model, data, body):
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacSubtreeCom(model, data, jacobian, body)
    return jacobian @ data.qvel


def angular_momentum(model, data, body):
    """Of the subtree about its own centre of mass, in world coordinates: sum of m r x v and R I R^T w."""
    centre, centre_velocity = centre_of_mass(model, data, body), centre_of_mass_velocity(model, data, body)
    total = np.zeros(3)
    for member in subtree(model, body):
        linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        mujoco.mj_jacBodyCom(model, data, linear, angular, member)
        velocity, spin = linear @ data.qvel, angular @ data.qvel
        frame = data.ximat[member].reshape(3, 3)
        total += model.body_mass[member] * np.cross(data.xipos[member] - centre, velocity - centre_velocity)
        total += frame @ (model.body_inertia[member] * (frame.T @ spin))
    return total


def torso_forward_velocity(model, data, body):
    """Velocity of the torso's sensor site along its own x axis."""
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, "torso")
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jacobian, None, site)
    return data.site_xmat[site].reshape(3, 3)[:, 0] @ (jacobian @ data.qvel)


def expected_reward(task, model, data):
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "torso")
    upright = data.xmat[body][8]
    if task.startswith("walker"):
        height = data.xpos[body][2]
        standing = 1.0 if height >= 1.2 else 0.1 ** (((1.2 - height) / 0.6) ** 2)
        stand = (3 * standing + (1 + upright) / 2) / 4
        if task == "walker_stand":
            return stand
        if task == "walker_flip":
            share = angular_momentum(model, data, body)[1] / 5
        else:
            speed = {"walker_walk": 1.0, "walker_run": 8.0}[task]
            share = centre_of_mass_velocity(model, data, body)[0] / speed
        return stand * (5 * min(max(share, 0.0), 1.0) + 1) / 6
    up = min(max((1 + upright) / 2, 0.0), 1.0)
    if task == "quadruped_stand":
        return up
    if task == "quadruped_jump":
        share = 0.5 + 0.5 * centre_of_mass(model, data, body)[2]
    else:
        speed = {"quadruped_walk": 0.5, "quadruped_run": 5.0}[task]
        share = 0.5 + 0.5 * torso_forward_velocity(model, data, body) / speed
    return up * min(max(share, 0.0), 1.0)


def randomise(physics, rng):
    """A random pose well above and below the targets, with random velocities."""
    with physics.reset_context():
        if physics.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
            orientation = rng.normal(size=4)
            physics.data.qpos[:3] = [*rng.normal(size=2), rng.uniform(0.2, 1.6)]
            physics.data.qpos[3:7] = orientation / np.linalg.norm(orientation)
            physics.data.qpos[7:] = rng.uniform(-1, 1, physics.model.nq - 7)
        else:
            physics.data.qpos[:] = rng.uniform(-1.5, 1.5, physics.model.nq)
            physics.data.qpos[0] = rng.uniform(-1.0, 1.0)  # height of the walker's root above its resting place
        physics.data.qvel[:] = rng.normal(size=physics.model.nv) * rng.choice([0.1, 1.0, 5.0])


@pytest.mark.parametrize("task", ALL_TASKS)
def test_reward_is_the_formula(task):
    env = load(*validate_task(task), seed=0)
    physics, rng = env.physics, np.random.default_rng(0)
    env.reset()
    seen = []
    for _ in range(200):
        randomise(physics, rng)
        reward = env.task.get_reward(physics)
        assert float(reward) == pytest.approx(expected_reward(task, physics.model.ptr, physics.data.ptr), abs=1e-6)
        seen.append(float(reward))
    assert min(seen) >= 0.0 and max(seen) <= 1.0
    assert np.ptp(seen) > 0.3  # the formula was tried where it differs


@pytest.mark.parametrize("task", ALL_TASKS)
def test_reward_after_a_control_step_is_the_formula(task):
    env = load(*validate_task(task), seed=0)
    rng, spec = np.random.default_rng(1), env.action_spec()
    env.reset()
    for _ in range(50):
        reward = env.step(rng.uniform(spec.minimum, spec.maximum)).reward
        expected = expected_reward(task, env.physics.model.ptr, env.physics.data.ptr)
        assert float(reward) == pytest.approx(expected, abs=1e-6)


def test_spinning_forwards_is_what_flip_rewards():
    env = load("walker", "flip", seed=0)
    env.reset()
    returns = []
    for spin in (5.0, -5.0):
        with env.physics.reset_context():
            env.physics.named.data.qvel["rooty"] = spin
        returns.append(env.task.get_reward(env.physics))
    assert returns[0] > 4 * returns[1]


@pytest.mark.parametrize("name", ["stand", "walk", "run", "jump"])
def test_quadruped_starts_anywhere_up_and_free_of_contact(name):
    env = load("quadruped", name, seed=3)
    upright, quaternions = [], []
    for _ in range(150 if name == "jump" else 20):
        env.reset()
        assert env.physics.data.ncon == 0
        assert not env.physics.data.qvel.any()
        quaternions.append(env.physics.data.qpos[3:7].copy())
        upright.append(float(env.physics.torso_upright()))
    assert np.allclose(np.linalg.norm(quaternions, axis=1), 1.0)
    if name == "jump":  # for a uniform rotation, the cosine to the vertical is uniform in [-1, 1]
        gap = np.abs(np.sort(upright) - np.linspace(-1, 1, len(upright))).max() / 2
        assert gap < 1.63 / np.sqrt(len(upright))  # Kolmogorov-Smirnov at 1%


def test_walker_starts_within_its_joint_ranges():
    env = load("walker", "flip", seed=3)
    model = env.physics.model
    poses = []
    for _ in range(100):
        env.reset()
        poses.append(env.physics.data.qpos.copy())
    poses = np.array(poses)
    limited = model.jnt_limited.astype(bool)
    low, high = model.jnt_range[limited].T
    assert (poses[:, limited] >= low).all() and (poses[:, limited] <= high).all()
    slides = model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE
    assert not np.ptp(poses[:, slides], axis=0).any()
    free_hinges = ~limited & ~slides
    assert free_hinges.sum() == 1
    assert np.abs(poses[:, free_hinges]).max() <= np.pi and np.ptp(poses[:, free_hinges]) > 5.5
