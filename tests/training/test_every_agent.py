"""Every agent through both scripts at debug size on real environments, from pixels and from states: pre-train,
snapshot, fine-tune, plan.
"""

import math

import pytest
import torch
from run_kit import AGENTS, BLIND, DEBUG

from entry.start import launch

QUICK = (*DEBUG, *BLIND, "action_repeat=20")
"""Episodes of 50 steps."""
PRETRAIN = (*QUICK, "num_train_frames=1220", "snapshots=[1200]")
FINETUNE = (*QUICK, "num_train_frames=1120", "snapshot_ts=1200")
ROWS = [
    *((agent, "walker", "walker_run") for agent in AGENTS),
    ("aps_dreamer", "quadruped", "quadruped_jump"),
    ("plan2explore", "jaco", "jaco_reach_bottom_right"),
]
PAIRS = {(agent, number // 2 % 2 == 0) for number, agent in enumerate(AGENTS)}
"""Of every agent, whether it plans in the ordinary run: two from pixels and states each do, the next two do not."""


def paired(rows, ordinary):
    """All rows, planning or not; in the ordinary run those of ``PAIRS`` for which ``ordinary(row)``."""
    return [
        pytest.param(row, plans, marks=() if (row[0], plans) in PAIRS and ordinary(row) else pytest.mark.long)
        for row in rows
        for plans in (True, False)
    ]


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check_trained(run) -> None:
    """The run has learned something, and all of it is finite."""
    assert run.updates > 0
    for name, value in run.agent.training_state()["modules"].items():
        assert torch.isfinite(value).all(), name
    assert all(math.isfinite(float(value)) for value in run.newest.values())


@pytest.mark.parametrize(
    ("row", "plans"), paired(ROWS, lambda row: row[1] != "walker" or AGENTS.index(row[0]) % 2 == 0)
)
def test_pretrained_then_finetuned_with_and_without_planning(settings, tmp_path, row, plans):
    agent, domain, task = row
    own = (f"agent={agent}", *(["action_repeat=10"] if domain == "jaco" else []))  # a divisor of its 250 control steps
    run = launch(settings("pretrain", *PRETRAIN, *own, f"domain={domain}"), tmp_path / "pt", "pretrain")
    check_trained(run)
    assert [path.name for path in run.files] == ["snapshot_1200.pt"]
    snapshot = torch.load(run.files[0], weights_only=True)
    assert snapshot["agent"] == agent

    config = settings("finetune", *FINETUNE, *own, f"task={task}")
    run = launch(config | {"mpc": plans}, tmp_path / "ft", "finetune")
    check_trained(run)
    assert run.agent.planning == plans
    actions = run.replay.read(0, 0, run.replay.total_written)["action"]
    assert abs(actions).max() <= 1


@pytest.mark.parametrize(("row", "plans"), paired(ROWS[: len(AGENTS)], lambda row: AGENTS.index(row[0]) % 2 == 1))
def test_the_same_from_states_without_a_renderer(settings, tmp_path, monkeypatch, row, plans):
    agent = row[0]
    monkeypatch.setattr("envs.dmc.Renderer", None)  # whoever draws anything fails
    kind = ("configs=dmc_states", f"agent={agent}")
    run = launch(settings("pretrain", *PRETRAIN, *kind, "domain=walker"), tmp_path / "pt", "pretrain")
    check_trained(run)
    (path,) = run.files
    assert path.relative_to(tmp_path).parts == ("pretrained_models", "states", "walker", agent, "1", "snapshot_1200.pt")
    snapshot = torch.load(path, weights_only=True)
    assert snapshot["spec"]["observation"] == [[24], "<f4"]
    assert (snapshot["config"]["obs_type"], snapshot["config"]["action_repeat"]) == ("states", 20)
    config = settings("finetune", *FINETUNE, *kind, "task=walker_run")
    run = launch(config | {"mpc": plans}, tmp_path / "ft", "finetune")
    check_trained(run)
    assert run.agent.planning == plans
    assert run.replay.layout.dtype["observation"].shape == (24,)
