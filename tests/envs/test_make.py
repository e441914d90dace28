"""Names of tasks, and what happens to values that cannot be."""

import os
import subprocess
import sys

import pytest

from envs.make import (
    DOMAINS,
    PRIMAL_TASKS,
    TASKS,
    EnvSettings,
    canonical_task,
    make,
    resolve_task,
    validate_task,
)
from utils.errors import UserError


def test_the_benchmark_s_tasks():
    assert set(TASKS["walker"]) == {"walker_stand", "walker_walk", "walker_run", "walker_flip"}
    assert TASKS["quadruped"][:4] == ("quadruped_walk", "quadruped_run", "quadruped_stand", "quadruped_jump")
    corners = ("top_left", "top_right", "bottom_left", "bottom_right")
    assert set(TASKS["jaco"]) == {f"jaco_reach_{corner}" for corner in corners}
    assert PRIMAL_TASKS["jaco"] == "jaco_reach_top_left" and DOMAINS["jaco"].control_steps == 250
    assert PRIMAL_TASKS["walker"] == "walker_stand" and PRIMAL_TASKS["quadruped"] == "quadruped_walk"
    assert all(PRIMAL_TASKS[domain] in TASKS[domain] for domain in DOMAINS)


def test_tasks_split_after_the_longest_domain():
    assert validate_task("walker_flip") == ("walker", "flip")
    assert validate_task("jaco_reach_top_left") == ("jaco", "reach_top_left")
    assert validate_task("ball_in_cup_catch") == ("ball_in_cup", "catch")
    assert validate_task("point_mass_easy") == ("point_mass", "easy")
    assert validate_task("humanoid_run_pure_state") == ("humanoid", "run_pure_state")
    assert validate_task("humanoid_CMU_run") == ("humanoid_CMU", "run")
    names = [task for tasks in TASKS.values() for task in tasks]
    assert len(names) == len(set(names))  # no name can be split in two ways


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("cartpole_swingup", "cartpole_swingup"),
        ("dmc_cartpole_swingup", "cartpole_swingup"),
        ("ball_in_cup_catch", "ball_in_cup_catch"),
        ("dmc_ball_in_cup_catch", "ball_in_cup_catch"),
        ("cup_catch", "ball_in_cup_catch"),
        ("dmc_cup_catch", "ball_in_cup_catch"),
        ("dmc_humanoid_CMU_run", "humanoid_CMU_run"),
        ("dmc_walker_flip", "walker_flip"),
    ],
)
def test_names_of_other_code_bases_have_one_canonical_form(name, task):
    assert canonical_task(name) == task


@pytest.mark.parametrize("task", [None, "none"])
def test_no_task_is_the_primal_one(task):
    assert resolve_task("walker", task) == "walker_stand"
    assert resolve_task("quadruped", task) == "quadruped_walk"
    assert resolve_task("jaco", task) == "jaco_reach_top_left"


def test_a_task_overrides_the_primal_one():
    assert resolve_task("walker", "walker_run") == "walker_run"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: validate_task("walker_fly"), ["task=walker_fly", "Did you mean task=walker_fl"]),
        (lambda: validate_task("walker"), ["task=walker ", "Allowed"]),
        (lambda: validate_task(None), ["task=None ", "Allowed"]),
        (lambda: validate_task("cup_catch"), ["task=cup_catch", "Did you mean task=ball_in_cup_catch?"]),
        (lambda: validate_task("dmc_walker_walk"), ["task=dmc_walker_walk", "Did you mean task=walker_walk?"]),
        (lambda: validate_task("humanoid_CMU_rum"), ["humanoid_CMU_stand", "Did you mean task=humanoid_CMU_run?"]),
        (lambda: validate_task("ball_in_cup_cach"), ["Allowed: ball_in_cup_catch.", "Did you mean"]),
        (lambda: validate_task("metaworld_reach"), ["domains acrobot, ball_in_cup", "walker"]),
        (lambda: canonical_task("dmc_cup_throw"), ["task=ball_in_cup_throw", "ball_in_cup_catch"]),
        (lambda: validate_task("lqr_lqr_2_1"), ["task=lqr_lqr_2_1", "no time limit"]),
        (lambda: make("lqr_lqr_6_2"), ["task=lqr_lqr_6_2", "no time limit"]),
        (lambda: resolve_task("quadruped", "quadruped_escape"), ["task=quadruped_escape", "renderer"]),
        (lambda: resolve_task("humanoid", "humanoid_CMU_run"), ["Set domain=humanoid_CMU", "humanoid_stand"]),
        (lambda: resolve_task("cartpole", "swingup"), ["task=swingup", "cartpole_swingup"]),
        (lambda: make("cartpole_swingup", action_repeat=3), ["action_repeat=3", "1000", "1, 2, 4, 5, 8"]),
        (lambda: validate_task(""), ["task= ", "Allowed"]),
        (lambda: resolve_task("walkr", None), ["domain=walkr", "Did you mean domain=walker?"]),
        (lambda: resolve_task("walker", "quadruped_run"), ["task=quadruped_run", "Set domain=quadruped", "walker_run"]),
        (lambda: resolve_task("walker", "run"), ["task=run", "walker_run"]),
        (lambda: make("walker_walk", obs_type="pixel"), ["obs_type=pixel ", "obs_type=pixels?"]),
        (lambda: make("walker_walk", render_quality="light"), ["render.quality=light", "render.quality=lite?"]),
        (lambda: make("walker_walk", action_repeat=3), ["action_repeat=3", "1000", "divisor", "1, 2, 4, 5"]),
        (lambda: make("jaco_reach_top_left", action_repeat=4), ["action_repeat=4", "250", "1, 2, 5, 10"]),
        (lambda: make("walker_walk", action_repeat=0), ["action_repeat=0", "above 0"]),
        (lambda: make("walker_walk", action_repeat=2.0), ["action_repeat=2.0", "whole number"]),
        (lambda: make("walker_walk", image_size=-64), ["image_size=-64", "above 15"]),
        (lambda: make("walker_walk", image_size=15), ["image_size=15", "above 15"]),
        (lambda: make("walker_walk", image_size=64.0), ["image_size=64.0", "whole number"]),
        (lambda: make("walker_walk", seed=-1), ["seed=-1", "4294967295"]),
        (lambda: make("walker_walk", seed=2**32), ["seed=4294967296"]),
        (lambda: make("walker_walk", seed=None), ["seed=None"]),
    ],
)
def test_errors_name_the_key_the_value_and_the_fix(call, words):
    with pytest.raises(UserError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_possible_settings_pass():
    EnvSettings("quadruped_jump", "states", action_repeat=4, seed=2**32 - 1).check()
    EnvSettings("cartpole_swingup", action_repeat=8, image_size=84).check()
    EnvSettings("reacher_hard", image_size=16).check()


@pytest.mark.parametrize("value", ["none", "disabled", "OFF"])
def test_states_need_no_renderer_and_imports_are_lazy(value):
    script = """
import sys
from envs.make import make
import envs.vector, envs.gl
assert not {"mujoco", "dm_control"} & set(sys.modules), "imported too early"
env = make("walker_flip", obs_type="states")
env.reset()
assert env.step(env.action_space.sample())[4]["frames"] == 2
from utils.errors import UserError
for call in (env.render, lambda: make("walker_flip")):
    try:
        call()
    except UserError as error:
        assert "MUJOCO_GL" in str(error)
    else:
        raise AssertionError("rendered without a renderer")
"""
    variables = {**os.environ, "MUJOCO_GL": value}
    result = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
