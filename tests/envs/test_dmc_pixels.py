"""What DMCEnv shows: the suite's own image, once per step, or a cheaper one."""

import time

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from sweep_kit import sweep

from envs.custom_dmc_tasks import load
from envs.dmc import DMCEnv
from envs.make import PRIMAL_TASKS, TASKS, make, validate_task
from envs.rendering import Renderer
from utils.errors import UserError

CAMERA = {"walker": (0, "side"), "quadruped": (2, "y"), "jaco": (0, "front_close")}
ALL_TASKS = [task for domain in CAMERA for task in TASKS[domain]]  # others: test_suite_tasks


@pytest.mark.parametrize(
    "task", sweep(ALL_TASKS, ("walker_walk", "quadruped_run", "quadruped_fetch", "jaco_reach_top_left"))
)
def test_full_quality_is_the_suites_own_image(task):
    domain, name = validate_task(task)
    env, raw = make(task, seed=3), load(domain, name, seed=3)
    camera, camera_name = CAMERA[domain]
    assert raw.physics.model.id2name(camera, "camera") == camera_name
    observation, _ = env.reset()
    raw.reset()
    low, high = raw.action_spec().minimum, raw.action_spec().maximum
    action = np.random.default_rng(0).uniform(-1, 1, low.shape).astype(np.float32)
    for _ in range(3):
        image = observation["observation"]
        assert image.shape == (3, 64, 64) and image.dtype == np.uint8 and image.flags.c_contiguous
        expected = raw.physics.render(64, 64, camera_id=camera)
        np.testing.assert_array_equal(image.transpose(1, 2, 0), expected)
        np.testing.assert_array_equal(env.render(), expected)
        observation, *_ = env.step(action)
        for _ in range(2):
            raw.step(low + (action.astype(np.float64) + 1) / 2 * (high - low))
    env.close()


def test_floor_of_quadruped_run_is_larger():
    sizes = {}
    for task in TASKS["quadruped"]:
        physics = load(*validate_task(task), seed=0).physics
        sizes[task] = physics.named.model.geom_size["floor"][:2].tolist()
    assert sizes.pop("quadruped_run") == [100, 100] and sizes.pop("quadruped_fetch") == [15, 15]
    assert all(size == [10, 10] for size in sizes.values())


def test_one_frame_per_agent_step(monkeypatch):
    frames = []
    frame = Renderer.frame
    monkeypatch.setattr(Renderer, "frame", lambda self: frames.append(1) or frame(self))
    env = make("walker_walk", action_repeat=5, render_quality="lite")
    env.reset()
    for _ in range(4):
        env.step(np.zeros(6))
        env.render()
    assert len(frames) == 5
    env.set_state(env.get_state())
    assert len(frames) == 6
    states = make("walker_walk", obs_type="states", render_quality="lite")
    states.reset(), states.step(np.zeros(6))
    assert len(frames) == 6
    assert states.render().shape == (64, 64, 3) and len(frames) == 7


def test_what_is_returned_does_not_change_later():
    env = make("walker_walk", render_quality="lite")
    observation, _ = env.reset()
    before = observation["observation"].copy()
    env.render()[:] = 0
    np.testing.assert_array_equal(env.last_observation()["observation"], before)
    for _ in range(3):
        env.step(np.ones(6))
    np.testing.assert_array_equal(observation["observation"], before)
    assert not np.array_equal(env.last_observation()["observation"], before)


@pytest.mark.parametrize("size", [16, 84])
def test_image_size_is_that_of_the_buffer(size):
    env = make("quadruped_stand", image_size=size, render_quality="lite")
    observation, _ = env.reset()
    assert observation["observation"].shape == (3, size, size) == env.observation_space["observation"].shape
    assert env.physics.model.vis.global_.offwidth == env.physics.model.vis.global_.offheight == size


@pytest.mark.parametrize("domain", CAMERA)
def test_lite_shows_the_same_scene_faster(domain):
    full, lite = (make(PRIMAL_TASKS[domain], seed=3, render_quality=quality) for quality in ("full", "lite"))
    best, images = {}, {}
    for name, env in (("full", full), ("lite", lite)):
        observation, _ = env.reset()
        images[name] = observation["observation"].astype(float)
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            env._renderer.frame()
            seconds.append(time.perf_counter() - start)
        best[name] = min(seconds)
    difference = np.abs(images["full"] - images["lite"])
    assert 0 < difference.mean() < 15  # other pixels, but mostly shadow and light on the floor
    assert np.corrcoef(images["full"][0].ravel(), images["lite"][0].ravel())[0, 1] > 0.8
    print(f"{domain}: full {1e3 * best['full']:.2f} ms, lite {1e3 * best['lite']:.2f} ms")
    assert best["lite"] < best["full"]  # 15 to 25 times in software; little on a GPU


@pytest.mark.parametrize(
    ("task", "quality"),
    [
        ("walker_flip", "full"),
        ("quadruped_run", "lite"),
        ("jaco_reach_top_left", "full"),
        ("jaco_reach_bottom_right", "lite"),
    ],
)
def test_restored_pixels_are_identical(task, quality):
    env, other = (make(task, seed=seed, render_quality=quality) for seed in (1, 2))
    env.reset(), other.reset()
    rng = np.random.default_rng(0)
    for _ in range(8):
        observation, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
    np.testing.assert_array_equal(other.set_state(env.get_state())["observation"], observation["observation"])
    for _ in range(3):
        action = rng.uniform(-1, 1, env.action_space.shape)
        one, two = env.step(action), other.step(action)
        np.testing.assert_array_equal(one[0]["observation"], two[0]["observation"])
        np.testing.assert_array_equal(one[4]["physics"], two[4]["physics"])
    np.testing.assert_array_equal(env.reset()[0]["observation"], other.reset()[0]["observation"])


@pytest.mark.parametrize(("task", "quality"), [("walker_walk", "full"), ("ball_in_cup_catch", "lite")])
@pytest.mark.parametrize("size", [256, 24])
def test_another_resolution_is_that_of_an_environment_made_for_it(task, quality, size):
    env, other = make(task, render_quality=quality), make(task, render_quality=quality, image_size=size)
    env.reset(), other.reset()
    for _ in range(2):
        np.testing.assert_array_equal(env.render_at(size), other.render())
        action = np.ones(env.action_space.shape)
        env.step(action), other.step(action)
    assert env.render_at(size).dtype == np.uint8 and env.render_at(size).flags.owndata
    env.close(), other.close()


def test_another_resolution_leaves_everything_as_it_is():
    watched, plain = (make("quadruped_fetch", render_quality="lite") for _ in range(2))
    for env in (watched, plain):
        env.reset()
    for action in np.random.default_rng(0).uniform(-1, 1, (4, 12)):
        first = watched.render_at(256)
        watched.render_at(100), watched.render_at(64)
        np.testing.assert_array_equal(watched.render_at(256), first)
        buffer = watched.physics.contexts.mujoco.ptr
        assert (buffer.offWidth, buffer.offHeight) == (64, 64)  # a large one would slow down every later frame
        assert watched.physics.model.vis.global_.offwidth == watched.physics.model.vis.global_.offheight == 64
        np.testing.assert_array_equal(watched.render(), plain.render())
        np.testing.assert_array_equal(watched._renderer.frame(), plain.render())  # not the frame kept from before
        np.testing.assert_array_equal(watched.physics.data.qacc_warmstart, plain.physics.data.qacc_warmstart)
        one, two = watched.step(action), plain.step(action)
        np.testing.assert_array_equal(one[0]["observation"], two[0]["observation"])
        np.testing.assert_array_equal(one[4]["physics"], two[4]["physics"])
    np.testing.assert_array_equal(watched.get_state()["actions"], plain.get_state()["actions"])
    np.testing.assert_array_equal(watched.reset()[0]["observation"], plain.reset()[0]["observation"])


def test_another_resolution_without_pixels_or_episode():
    env = make("cartpole_swingup", obs_type="states", render_quality="lite")
    with pytest.raises(ResetNeeded, match="reset"):
        env.render_at(256)
    env.reset()
    image = env.render_at(256)
    assert image.shape == (256, 256, 3) and image.std() > 10
    assert env.render().shape == (64, 64, 3)
    for size in (0, -1, 2.5):
        with pytest.raises(UserError, match="size="):
            env.render_at(size)


def test_unknown_quality_names_the_nearest():
    env = DMCEnv("walker", "walk", render_quality="lit")
    with pytest.raises(UserError, match="render.quality=lite"):
        env.reset()


def test_cameras_can_be_chosen():
    images = []
    for camera in (None, 0, 1, "side"):
        env = DMCEnv("walker", "walk", camera_id=camera, render_quality="lite")
        images.append(env.reset()[0]["observation"])
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    np.testing.assert_array_equal(images[0], images[3])


def test_frames_are_fresh_arrays_and_lite_has_no_multisampling():
    physics = load("walker", "walk", seed=0).physics
    renderer = Renderer(physics, 32, camera_id=0, quality="lite")
    first = renderer.frame()
    before = first.copy()
    with physics.reset_context():
        physics.named.data.qpos["rooty"] = 1.5
    assert not np.array_equal(renderer.frame(), before)
    np.testing.assert_array_equal(first, before)
    assert physics.contexts.mujoco.ptr.offSamples == 0 and physics.contexts.mujoco.ptr.shadowSize == 0
