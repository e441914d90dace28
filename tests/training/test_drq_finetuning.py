"""Runs of ``drq_train.py`` that start from a snapshot."""

import pytest
import torch
from contents_kit import write_snapshot
from drq_run_kit import QUIET, assert_same, same_weights, settings
from kill_kit import Killed, kill_at

from entry.start import launch
from training.checkpoint import load
from training.off_policy import OffPolicyRun
from utils.errors import UserError

BALANCE = ("task=cartpole_balance", "num_train_steps=1", "extrinsic_coeff=1", "diayn_intrinsic_reward_coeff=0", *QUIET)


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def snapshot(skilled):
    return skilled.folder.parent / "snaps/pixels/cartpole/drq_diayn/1/snapshot_2400.pt"


def test_fine_tuning_from_skills_on_another_task(skilled, snapshot, tmp_path):
    start = load(snapshot, "snapshot")["modules"]
    run = launch(settings(*BALANCE, f"snapshot={snapshot}"), tmp_path / "ft", "drq")
    assert run.agent.extrinsic == 1 and run.agent.intrinsic == 0
    for part, taken in (("actor", True), ("critic", True), ("critic_target", True), ("discriminator", False)):
        assert same_weights(run.agent.snapshot_modules()[part], start[part]) == taken, part
    final = load(tmp_path / "ft/models/final_model.pt", "snapshot")
    (parent,) = final["lineage"]
    assert (parent["path"], parent["frame"], parent["agent"]) == (str(snapshot), 2400, "drq_diayn")
    assert parent["run"] == str(skilled.folder)
    # its grandchild knows both
    again = launch(settings(*BALANCE, f"snapshot={tmp_path / 'ft/models/final_model.pt'}"), tmp_path / "again", "drq")
    assert [entry["path"] for entry in again.lineage] == [str(tmp_path / "ft/models/final_model.pt"), str(snapshot)]


@pytest.mark.parametrize("part, other", [("actor", "critic"), ("critic", "actor")])
def test_fine_tuning_with_a_part_left_fresh(snapshot, tmp_path, part, other):
    start = load(snapshot, "snapshot")["modules"]
    run = launch(settings(*BALANCE, f"snapshot={snapshot}", f"init_{part}=false"), tmp_path / "ft", "drq")
    now = run.agent.snapshot_modules()
    assert same_weights(now[other], start[other])
    convs = {name for name in start[part] if "convs" in name}
    assert convs
    for name, value in start[part].items():
        if name in convs:
            assert torch.equal(value, now[part][name]), name
    assert not same_weights(now[part], start[part])


def test_a_fine_tuning_that_was_killed_resumes_from_its_checkpoint(snapshot, tmp_path, monkeypatch):
    config = settings(*BALANCE, "num_train_steps=255", "eval_frequency=1000", f"snapshot={snapshot}")
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 215)
    whole = launch(config, tmp_path / "whole", "drq")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 20)
        launch(config, tmp_path / "killed", "drq")
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert_same(whole, resumed, tmp_path / "whole", tmp_path / "killed")
    assert resumed.lineage == whole.lineage != []


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["num_skills=4"], "num_skills"),
        (["num_skills=0"], "num_skills"),
        (["skill_critic=false"], "skill_critic"),
        (["framestack=2"], "framestack"),
        (["critic_hidden_dim=17"], "critic"),
        (["render_size=48"], "render_size=48"),
        (["task=finger_spin"], "domain=cartpole"),
        (["action_repeat=4"], "action_repeat=4"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(snapshot, tmp_path, overrides, named):
    with pytest.raises(UserError) as caught:
        launch(settings(*BALANCE, f"snapshot={snapshot}", *overrides), tmp_path / "ft", "drq")
    assert named in str(caught.value)
    assert not (tmp_path / "ft" / "episodes.csv").exists() and not (tmp_path / "ft" / "replay").exists()


def test_a_snapshot_that_is_none_is_refused(tmp_path):
    write_snapshot(tmp_path / "dreamer.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 broken")
    for name, expected in (
        ("nowhere.pt", "there is no such file"),
        ("dreamer.pt", "agent=dreamer, .*agent=drq"),
        ("broken.pt", "not a readable snapshot"),
    ):
        with pytest.raises(UserError, match=expected):
            launch(settings(*BALANCE, f"snapshot={tmp_path / name}"), tmp_path / "ft", "drq")
