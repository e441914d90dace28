"""Runs that are killed for good and resumed end as if nothing had happened: exact resume."""

import random
from pathlib import Path

import pytest
from kill_kit import Kill, Place, assert_same_runs, in_child, play, rows
from run_kit import AGENTS, BLIND, DEBUG, SHORT
from snapshot_kit import made_by
from sweep_kit import sweep

from training.run import CHECKPOINT

CALLS: dict[Place, int] = {"update": 4000, "collect": 600, "checkpoint": 50_000}
"""Function calls in there, about: a kill may come at any of them."""


@pytest.fixture
def runs(settings, tmp_path):
    """``run(name, script, agent, frames, kills)``: a run in child processes, killed and resumed as asked."""

    def run(name: str, script: str, agent: str, frames: int, kills: list[Kill]) -> Path:
        own = ["snapshots=[1500]"] if script == "pretrain" else ["snapshot_ts=0"]
        if script == "finetune" and agent == "choreo":  # it has something to adapt
            source = tmp_path / "source" / "snapshot_10.pt"
            if not source.exists():  # the same for all runs: each that is made has other weights
                made_by(source, "pretrain", *SHORT, f"agent={agent}")
            own = [f"snapshot={source}"]
        config = settings(
            script,
            *(*SHORT, "snapshot_dir=null", "save_video=false", "checkpoint_every_minutes=0.01"),
            # a replay that wraps
            *(f"agent={agent}", f"num_train_frames={frames}", "replay.capacity=242"),
            *own,
        )
        folder, log = tmp_path / name, tmp_path / f"{name}.log"
        for number, kill in enumerate([*kills, None]):
            code = in_child(play, config, folder, script, number > 0, kill, log)
            assert code == (0 if kill is None else -9), log.read_text()[-3000:]
        return folder

    return run


def some_kills(seed: int, count: int, first: int, last: int) -> list[Kill]:
    """``count`` moments from agent step ``first`` to ``last``, in turn inside each kind of place."""
    draw = random.Random(seed)
    steps = sorted(draw.sample(range(first, last), count))
    places = [list(CALLS)[(seed + number) % len(CALLS)] for number in range(count)]
    return [Kill(step, place, draw.randint(1, CALLS[place])) for step, place in zip(steps, places, strict=True)]


@pytest.mark.parametrize("agent", sweep(AGENTS, ("deviation_dreamer", "rnd_dreamer")))
def test_killed_once_and_resumed_is_bit_for_bit_the_uninterrupted_run(runs, agent):
    script = "finetune" if AGENTS.index(agent) % 2 else "pretrain"
    whole = runs("whole", script, agent, 2510, [])
    killed = runs("killed", script, agent, 2510, some_kills(AGENTS.index(agent), 1, 104, 248))
    assert_same_runs(whole, killed)


def test_a_drq_run_killed_in_every_place_is_bit_for_bit_the_uninterrupted_run(settings, tmp_path):
    config = settings(
        "drq",
        *(*DEBUG, "save_video=false", "task=cartpole_swingup"),
        *("num_train_steps=510", "num_skills=2", "checkpoint_every_minutes=0.01", "replay_buffer_capacity=300"),
    )
    kills = [Kill(238, "checkpoint", 20_000), Kill(330, "update", 700), Kill(450, "collect", 100)]
    for name, planned in (("whole", []), ("killed", kills)):
        log = tmp_path / f"{name}.log"
        for number, kill in enumerate([*planned, None]):
            code = in_child(play, config, tmp_path / name, "drq", number > 0, kill, log)
            assert code == (0 if kill is None else -9), log.read_text()[-3000:]
    assert len(rows(tmp_path / "whole" / "episodes.csv")) == 4 + 3 * 2
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("place", ["update", pytest.param("finish", marks=pytest.mark.long)])
def test_an_overlapping_run_killed_in_the_middle_of_a_step_is_bit_for_bit_the_uninterrupted_run(
    settings, tmp_path, place
):
    """What overlaps is fixed, only when it happens is not."""
    config = settings(
        "pretrain",
        *(*SHORT, *BLIND, "snapshot_dir=null", "num_envs=2"),
        *("collect.async=true", "num_train_frames=5000", "replay.capacity=2400", "checkpoint_every_minutes=0.01"),
        *("train_every_actions=50", "snapshots=[3000]"),
    )
    for name, planned in (("whole", []), ("killed", [Kill(230, place, 2000 if place == "update" else 40)])):
        log = tmp_path / f"{name}.log"
        for number, kill in enumerate([*planned, None]):
            code = in_child(play, config, tmp_path / name, "pretrain", number > 0, kill, log)
            assert code == (0 if kill is None else -9), log.read_text()[-3000:]
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")
    assert "policy_lag" in rows(tmp_path / "killed" / "train.csv")[-1]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("script", ["pretrain", "finetune"])
@pytest.mark.parametrize("agent", ["dreamer", "deviation_dreamer", "rnd_dreamer", "aps_dreamer", "choreo"])
def test_killed_ten_times_and_resumed_is_bit_for_bit_the_uninterrupted_run(runs, agent, script):
    whole = runs("whole", script, agent, 3010, [])
    killed = runs("killed", script, agent, 3010, some_kills(0, 10, 104, 300))
    assert_same_runs(whole, killed)
    assert (killed / CHECKPOINT).exists()
