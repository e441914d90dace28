"""Which goals are evaluated how: what goes together, what is refused, and what the refusal names."""

import pytest
from settings_kit import typed

from envs.goals import GOALS
from training.parts import env_arguments, env_sizes
from utils.errors import UserError

CHOREO = ("finetune", "agent=choreo")
MW = (*CHOREO, "configs=mw_pixels", "task=mw_reach")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        # an agent without skills, whichever it is
        *(
            (
                ("finetune", f"agent={agent}", "configs=mw_pixels", "task=mw_reach", "eval_goals=true"),
                [f"agent={agent}"],
            )
            for agent in ("dreamer", "icm_dreamer", "plan2explore", "lbs_dreamer")
        ),
        (("finetune", "task=jaco_reach_top_left", "eval_goals=true"), ["eval_goals", "agent=dreamer", "agent=choreo"]),
        ((*CHOREO, "task=quadruped_run", "eval_goals=true"), ["eval_goals", "task=quadruped_run", "mw_reach"]),
        ((*MW, "eval_goals=true", "evaluate=false"), ["eval_goals", "evaluate"]),
        ((*MW, "goal_mode=nearest_code"), ["goal_mode=nearest_code", "eval_goals=true"]),
        ((*MW, "eval_goals=true", "goal_mode=nearest"), ["goal_mode=nearest", "nearest_code"]),
        (
            ("finetune", "agent=diayn_dreamer", "task=mw_reach", "eval_goals=true", "goal_mode=nearest_code"),
            ["goal_mode=nearest_code", "agent=diayn_dreamer", "agent=choreo"],
        ),
        *(
            (
                ("finetune", f"agent={agent}", "task=jaco_reach_top_left", "eval_goals=true", "goal_mode=toward_goal"),
                ["goal_mode=toward_goal", f"agent={agent}", "agent=metra_dreamer"],
            )
            for agent in ("choreo", "diayn_dreamer")
        ),
        ((*MW, "task_id=50"), ["task_id=50", "49"]),
        ((*MW, "goal_seed=-1"), ["goal_seed=-1"]),
        ((*CHOREO, "task=walker_run", "task_id=3"), ["task_id=3", "task=walker_run", "domain=mw"]),
        # the configuration of another domain is not trained with by mistake
        (("pretrain", "configs=mw_pixels"), ["goal_seed=1", "task=walker_stand", "domain=mw task=mw_reach"]),
        (("pretrain", "configs=mw_pixels", "domain=mww"), ["domain=mww", "domain=mw?"]),
        (("drq", "task=mw_reach", "+goal_seed=3"), ["goal_seed"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(words, told):
    with pytest.raises(UserError) as refused:
        typed(*words)
    assert all(word in str(refused.value) for word in told), str(refused.value)


@pytest.mark.parametrize("agent", ["choreo", "diayn_dreamer", "aps_dreamer"])
def test_every_agent_with_skills_is_taken(agent):
    found = typed(
        "finetune", f"agent={agent}", "configs=mw_pixels", "task=mw_reach", "eval_goals=True", "snapshot_ts=9"
    )
    assert found.eval_goals and found.goal_mode == "random_skills" and found.agent.update_skill_every_step > 0


@pytest.mark.parametrize("task", ["jaco_reach_top_left", "mw_reach", "walker_walk"])
@pytest.mark.parametrize("mode", ["nearest_code", "toward_goal"])
def test_goals_are_shown_in_every_domain_that_has_some(task, mode):
    agent = "choreo" if mode == "nearest_code" else "metra_dreamer"
    kind = "mw_pixels" if task == "mw_reach" else "dmc_pixels"
    words = (f"agent={agent}", f"configs={kind}", f"task={task}", "eval_goals=True", f"goal_mode={mode}")
    assert typed("finetune", *words, "snapshot_ts=9").goal_mode == mode


def test_the_set_of_goals_is_that_of_the_seed():
    for words, wanted in ((["seed=4"], 4), (["seed=4", "goal_seed=9"], 9)):
        assert env_arguments(typed(*MW, *words))["goal_seed"] == wanted
    given = env_arguments(typed("finetune", "agent=choreo", "task=mw_reach", "seed=6", f"task_id={GOALS - 1}"))
    assert (given["goal_seed"], given["task_id"]) == (6, GOALS - 1)  # without configs=mw_pixels, too
    given = env_arguments(typed("finetune", "task=walker_run", "snapshot_ts=0"))
    assert given["goal_seed"] is given["task_id"] is None


def test_a_run_on_meta_world_keeps_no_simulator_states():
    found = typed("pretrain", "configs=mw_pixels", "domain=mw", "agent=choreo")
    assert not found.replay.store_physics and env_sizes(found) == (4, None, 250)
    assert (found.task, found.domain, found.obs_type, found.action_repeat) == ("mw_reach", "mw", "pixels", 2)
