"""Choreographer's whole runs: pictures with a snapshot, the phases of fine-tuning, exact resume in both phases."""

import re

import pytest
import torch
from kill_kit import Killed, kill_at, rows
from PIL import Image
from run_kit import BLIND, SHORT
from snapshot_kit import made_by

import training.trial
from analysis import skill_probe
from entry.start import launch
from training.parts import build_agent
from utils.errors import UserError

CODES = 4  # of preset=debug
CHOREO = (*SHORT, "agent=choreo")


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_pictures_of_all_codes_and_then_a_controller(settings, tmp_path, capsys, monkeypatch):
    more = ("num_train_frames=2010", "snapshots=[1200]", "evaluate=false")
    run = launch(settings("pretrain", *CHOREO, *more), tmp_path / "pt", "pretrain")
    names = {path.name for path in (tmp_path / "pt" / "videos").iterdir()}
    assert {"train_skills_1200.mp4", "train_skill_codes_1200.gif"} <= names
    assert any(name.startswith("train_openl_observation") for name in names)
    side = 2 * (2 * 64 + 2) + 2  # two rows of codes at twice the size, borders between them
    with Image.open(tmp_path / "pt" / "videos" / "train_skill_codes_1200.gif") as still:
        assert still.size == (side, side) and still.n_frames == 1
    assert "skill" not in run.replay.layout.dtype.names
    last = rows(tmp_path / "pt" / "train.csv")[-1]
    assert float(last["unused_codes"]) < CODES and {"resampled_codes", "code_usage_ent", "skill_reward_mean"} <= set(
        last
    )
    # the probe takes the codes for skills
    (snapshot,) = (path for path in run.files if path.suffix == ".pt")
    report, made = skill_probe.run(skill_probe.parser().parse_args([str(snapshot), "--episodes=2"]))
    assert report["skills"] == CODES and len(made.labels) == 2 * CODES

    tried = []
    monkeypatch.setattr(training.trial, "build_agent", lambda *of: tried.append(build_agent(*of)) or tried[-1])
    more = ("snapshot_ts=1200", "num_seed_frames=1200", "num_train_frames=1510", "task=walker_run")
    tuned = launch(settings("finetune", *CHOREO, *more, "eval_every_frames=500"), tmp_path / "ft", "finetune")
    said = capsys.readouterr().out
    rewards, controls = (re.findall(f"{what} frame (\\d+)", said) for what in ("found by", "skills from"))
    assert len(rewards) == len(controls) == 1 and int(controls[0]) >= max(int(rewards[0]), 1000), said
    evaluated = {int(row["frame"]): float(row["skills_tried"]) for row in rows(tmp_path / "ft" / "eval.csv")}
    assert evaluated == {0: 1, 500: 1, 1000: 1, 1500: 0}  # codes in turn, one an episode, then the controller
    assert tuned.agent.main.controls
    # what an update takes was tried with the controller learning, though no reward had been found yet
    assert len(tried) == 1 and tried[0].main.behaves(undecided=False) and tried[0].updates > 0


@pytest.mark.parametrize("script", ["pretrain", "finetune"])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(settings, tmp_path, monkeypatch, script):
    """On states; killed after the first replacement of codes, or with the controller in charge."""
    states = (
        "configs=dmc_states",
        *CHOREO,
        "evaluate=false",
        "num_train_frames=2010",
        "checkpoint_every_minutes=0.005",
    )
    own = ["save_video=false"]
    if script == "finetune":
        before = settings(
            "pretrain", "configs=dmc_states", *CHOREO, *BLIND, "num_train_frames=1110", "snapshots=[1100]"
        )
        launch(before, tmp_path / "before", "pretrain")
        own += ["snapshot_ts=1100"]
    config = settings(script, *states, *own)
    whole = launch(config, tmp_path / "whole", script)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 37)
        launch(config, tmp_path / "killed", script)
    resumed = launch(config, tmp_path / "killed", script, resume=True)
    for name, value in whole.agent.training_state()["modules"].items():
        assert torch.equal(value, resumed.agent.training_state()["modules"][name]), name
    assert rows(tmp_path / "whole" / "train.csv") == rows(tmp_path / "killed" / "train.csv") != []
    assert whole.updates > 45


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["snapshot_ts=0"], ["snapshot_ts=0", "agent=choreo"]),
        (["configs=dmc_states"], ["obs_type=states", "obs_type=pixels"]),
        (["agent.skill_dim=5"], ["agent.skill_dim=5", "agent.skill_dim=4"]),
        (["agent.code_dim=3"], ["agent.code_dim=3", "agent.code_dim=4"]),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused_in_words(settings, tmp_path, words, told):
    folder = tmp_path / "snaps" / "1"
    made_by(folder / "snapshot_20.pt", "pretrain", *CHOREO)
    more = [f"custom_snap_dir={folder}", "snapshot_ts=20"]
    config = settings("finetune", *CHOREO, *BLIND, *more, *words)
    with pytest.raises(UserError) as refused:
        launch(config, tmp_path / "ft", "finetune")
    assert all(word in str(refused.value) for word in told), str(refused.value)


def test_the_snapshot_of_another_agent_is_refused(settings, tmp_path):
    folder = tmp_path / "snaps" / "1"
    made_by(folder / "snapshot_20.pt", "pretrain", *SHORT, "agent=lbs_dreamer")
    config = settings("finetune", *CHOREO, *BLIND, f"custom_snap_dir={folder}", "snapshot_ts=20")
    with pytest.raises(UserError, match="agent=lbs_dreamer.*agent=choreo"):
        launch(config, tmp_path / "ft", "finetune")
