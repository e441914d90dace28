"""The forecast of an on-policy run."""

import itertools

import pytest
from settings_kit import typed

from agents.rest.agent import schedule_of
from preflight.rollout_forecast import kept_folders, rollout_forecast
from preflight.room import memory_notes
from utils.errors import UserError

DEBUG = ("preset=debug", "env=DoorMaze")


@pytest.mark.parametrize("method", ["rest", "diayn", "task"])
def test_as_many_folders_as_turns_of_the_cycles_that_are_kept(method):
    for epochs, every in itertools.product(range(1, 7), range(1, 8)):
        settings = typed("rest", *DEBUG, f"method={method}", f"epochs={epochs}", f"keep_every={every}")
        schedule = schedule_of(settings)
        cycles = [int(name.partition("/")[0]) for name in schedule.snapshots()]
        kept = [cycle for cycle in cycles if cycle % every == 0 or cycle == epochs - 1]
        assert kept_folders(settings, schedule) == len(kept), (epochs, every)


def test_a_length_beyond_all_bounds_takes_no_time_to_foresee():
    need = rollout_forecast(typed("rest", *DEBUG, "epochs=1000000000000"), "pretrain")
    assert need.disk > 1e12 * need.snapshot  # at least one file in each cycle


def test_a_length_that_cannot_be_counted_is_refused():
    with pytest.raises(UserError, match="turn_iters=1000000000000000 "):
        typed("rest", *DEBUG, "epochs=100000000", "turn_iters=1000000000000000")


def test_what_needs_too_much_memory_is_told_the_keys_of_this_script():
    need = rollout_forecast(typed("rest", *DEBUG, "traj_len=10000000000"), "pretrain")
    with pytest.raises(UserError) as refused:
        memory_notes(need)
    said = str(refused.value)
    assert "num_envs" in said and "traj_len" in said and "batch_size" not in said


def test_another_agent_is_refused_rather_than_left_out_of_account():
    for word in ("agent._target_=agents.dreamer.agent.DreamerAgent", "agent.name=dreamer"):
        with pytest.raises(UserError) as refused:
            typed("rest", *DEBUG, word)
        assert word.partition("=")[2] in str(refused.value) and "agents.rest.agent.RestAgent" in str(refused.value)
