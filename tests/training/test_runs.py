"""Whole runs on real environments at debug size: outputs, determinism, exact resume."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from kill_kit import Killed, kill_at, rows
from run_kit import BLIND, SHORT
from settings_kit import compose_settings

from entry.start import launch
from training.checkpoint import load
from training.off_policy import OffPolicyRun
from training.run import CHECKPOINT


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def weights(run: OffPolicyRun) -> dict[str, torch.Tensor]:
    return run.agent.training_state()["modules"]


class Ended(NamedTuple):
    """A run that nothing has disturbed."""

    run: OffPolicyRun
    folder: Path
    drawn: torch.Tensor
    """The pictures of the first batch that it draws after its end."""


def to_the_end(config: dict, folder: Path, script: str) -> Ended:
    run = launch(config, folder, script)
    return Ended(run, folder, run.replay.sample()["observation"])


def assert_same(left: Ended, right: OffPolicyRun, right_dir: Path) -> None:
    for name, value in weights(left.run).items():
        assert torch.equal(value, weights(right)[name]), name
    for name in ("train.csv", "eval.csv"):
        assert rows(left.folder / name) == rows(right_dir / name)
    assert torch.equal(left.drawn, right.replay.sample()["observation"])


WHOLE = (*SHORT, "snapshot_ts=0", "num_train_frames=2110")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A fine-tuning of two episodes and a bit, which several tests compare theirs to."""
    return to_the_end(compose_settings("finetune", *WHOLE), tmp_path_factory.mktemp("whole") / "run", "finetune")


def test_pretraining_then_finetuning_from_its_snapshot(settings, tmp_path):
    pretrain = settings("pretrain", *SHORT, "num_train_frames=2010", "snapshots=[2000]")
    run = launch(pretrain, tmp_path / "pt", "pretrain")
    snapshot = Path("pretrained_models/pixels/walker/dreamer/1/snapshot_2000.pt")
    content = torch.load(snapshot, weights_only=True)
    assert (content["agent"], content["frame"], content["kind"]) == ("dreamer", 2000, "snapshot")
    assert run.updates == 51
    assert [row["frame"] for row in rows(tmp_path / "pt" / "eval.csv")] == ["0", "1000", "2000"]
    assert len(list((tmp_path / "pt" / "videos").iterdir())) >= 4
    assert list((tmp_path / "pt" / "tb").iterdir())

    finetune = settings("finetune", *SHORT, "num_train_frames=1010", "snapshot_ts=2000", "task=walker_run")
    seen = {}
    original = OffPolicyRun.run

    def spying(self):
        seen.update({k: v.clone() for k, v in weights(self).items()})
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OffPolicyRun, "run", spying)
        launch(finetune, tmp_path / "ft", "finetune")
    for part in ("encoder", "rssm", "decoder"):
        for name, value in content["modules"][part].items():
            assert torch.equal(seen[f"world_model.{part}.{name}"], value)
    for name, value in content["modules"]["actor"].items():
        assert torch.equal(seen[f"behaviors.main.actor.{name}"], value)
    assert not torch.equal(seen["world_model.reward_head.0.weight"], content["modules"]["reward_head"]["0.weight"])
    assert not torch.equal(seen["behaviors.main.critic.net.0.weight"], content["modules"]["critic"]["net.0.weight"])
    final = torch.load(tmp_path / "ft" / "finetuned_snapshot.pt", weights_only=True)
    (parent,) = final["lineage"]
    assert Path(parent["path"]) == snapshot.absolute() and (parent["agent"], parent["frame"]) == ("dreamer", 2000)
    assert parent["run"] == str(tmp_path / "pt") and parent["commit"] == content["commit"]


@pytest.mark.long
@pytest.mark.parametrize("script", ["pretrain", "finetune"])
def test_random_dreamer_runs(settings, tmp_path, script):
    frames = 1510
    extra = ["snapshot_ts=0"] if script == "finetune" else []
    config = settings(script, *SHORT, "agent=random_dreamer", f"num_train_frames={frames}", *extra)
    run = launch(config, tmp_path / "run", script)
    assert run.updates > 0


def test_skills_from_pretraining_to_their_choice(settings, tmp_path, capsys):
    every = "agent.update_skill_every_step=5"
    sd3 = (*SHORT, "agent=deviation_dreamer", "num_train_frames=2010", every)
    config = settings("pretrain", *sd3, "snapshots=[1500]")
    run = launch(config, tmp_path / "pt", "pretrain")
    assert (tmp_path / "pt" / "videos" / "train_skills_1500.mp4").stat().st_size > 0
    assert {"deviation", "density_acc"} <= set(rows(tmp_path / "pt" / "train.csv")[-1])
    # what is stored: skills change at episode starts and every 5 steps; those of random actions do not count
    records = run.replay.read(0, 0, 200)
    skill, valid, first = records["skill"].argmax(-1), records["skill_valid"], records["is_first"]
    assert first.nonzero()[0].tolist() == [0, 101]
    assert not valid[:101].any() and not valid[101] and valid[102:].all()
    changes = (skill[103:] != skill[102:-1]).nonzero()[0] + 1
    assert len(changes) > 5 and (changes % 5 == 0).all()

    config = settings("finetune", *sd3, "snapshot_ts=1500", "task=walker_walk")
    run = launch(config, tmp_path / "ft", "finetune")
    chosen = int(re.search(r"skill chosen at frame 1000: skill (\d)", capsys.readouterr().out).group(1))
    skill = run.replay.read(0, 0, 200)["skill"].argmax(-1)
    assert len(set(skill[:101])) > 1 and set(skill[102:]) == {chosen}
    final = torch.load(tmp_path / "ft" / "finetuned_snapshot.pt", weights_only=True)
    assert final["modules"]["skills"]["chosen"].argmax() == chosen


def test_same_seed_same_numbers_and_another_seed_others(settings, tmp_path, whole):
    same = launch(settings("finetune", *WHOLE, "seed=1"), tmp_path / "same", "finetune")
    assert_same(whole, same, tmp_path / "same")
    # the first row is that of the second episode: there were no updates in the first
    launch(settings("finetune", *WHOLE, *BLIND, "seed=6", "num_train_frames=2010"), tmp_path / "other", "finetune")
    first, other = (rows(folder / "train.csv")[0] for folder in (whole.folder, tmp_path / "other"))
    assert first["frame"] == other["frame"] and first["episode_reward"] != other["episode_reward"]


@pytest.mark.parametrize("agent", ["dreamer", "deviation_dreamer"])
def test_looking_at_a_run_does_not_change_it(settings, tmp_path, whole, agent):
    arguments = WHOLE if agent == "dreamer" else (*WHOLE, f"agent={agent}", "num_train_frames=1510")
    quiet = ("evaluate=false", "recon_every_frames=1000000")
    if agent == "dreamer":
        watched = whole.run
    else:
        watched = launch(settings("finetune", *arguments), tmp_path / "watched", "finetune")
    alone = launch(settings("finetune", *arguments, *quiet), tmp_path / "alone", "finetune")
    for name, value in weights(watched).items():
        assert torch.equal(value, weights(alone)[name]), name


@pytest.mark.parametrize("minutes", ["0", "0.005"])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(settings, tmp_path, monkeypatch, whole, minutes):
    # 0.005 minutes: a checkpoint every 0.3 s, so the last one before the kill lies within an episode
    config = settings("finetune", *WHOLE, f"checkpoint_every_minutes={minutes}")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 43)
        launch(config, tmp_path / "killed", "finetune")
    resumed = launch(config, tmp_path / "killed", "finetune", resume=True)
    assert_same(whole, resumed, tmp_path / "killed")


@pytest.mark.parametrize("script", [pytest.param("pretrain", marks=pytest.mark.long), "finetune"])
def test_a_killed_skill_agent_resumes_bit_for_bit(settings, tmp_path, monkeypatch, script):
    frames = "num_train_frames=1610"
    sd3 = (*SHORT, "agent=deviation_dreamer", frames, "checkpoint_every_minutes=0.005", "evaluate=false")
    more = ("snapshots=[1500]",) if script == "pretrain" else ("snapshot_ts=0",)
    config = settings(script, *sd3, *more, "agent.update_skill_every_step=20")
    whole = to_the_end(config, tmp_path / "whole", script)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 20)
        launch(config, tmp_path / "killed", script)
    resumed = launch(config, tmp_path / "killed", script, resume=True)
    assert resumed.agent.skills.settled == (script == "finetune")
    assert_same(whole, resumed, tmp_path / "killed")


def test_a_killed_planning_run_resumes_bit_for_bit(settings, tmp_path, monkeypatch):
    less = ("num_train_frames=1210", "evaluate=false", "recon_every_frames=1000000")
    config = settings("finetune", *SHORT, "mpc=true", "snapshot_ts=0", *less)
    # planning begins at step 100; the kill comes at step 114, 4 steps after the last checkpoint
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 110)
    whole = to_the_end(config, tmp_path / "whole", "finetune")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 8)
        launch(config, tmp_path / "killed", "finetune")
    kept = load(tmp_path / "killed" / CHECKPOINT, "checkpoint")
    assert kept["agent"]["planning"] and kept["collector"]["plan"].any()
    resumed = launch(config, tmp_path / "killed", "finetune", resume=True)
    assert_same(whole, resumed, tmp_path / "killed")
    plans = [run.collector.state_dict()["plan"] for run in (whole.run, resumed)]
    assert torch.equal(*plans) and plans[0].shape == (1, 5, 6)


def test_a_run_killed_before_its_first_checkpoint_starts_over(settings, tmp_path, monkeypatch, whole, capsys):
    config = settings("finetune", *WHOLE, "checkpoint_every_minutes=60")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 3)
        launch(config, tmp_path / "killed", "finetune")
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    resumed = launch(config, tmp_path / "killed", "finetune", resume=True)
    assert "starting this run from its beginning" in capsys.readouterr().out
    assert_same(whole, resumed, tmp_path / "killed")


def test_a_finished_run_says_so_and_changes_nothing(settings, tmp_path, capsys):
    config = settings("finetune", *SHORT, "snapshot_ts=0", "num_train_frames=1010", "evaluate=false")
    launch(config, tmp_path / "run", "finetune")
    before = load(tmp_path / "run" / CHECKPOINT, "checkpoint")
    launch(config, tmp_path / "run", "finetune", resume=True)
    assert "is finished" in capsys.readouterr().out
    after = load(tmp_path / "run" / CHECKPOINT, "checkpoint")
    assert before["counters"] == after["counters"]


def test_a_run_made_longer_replaces_its_last_snapshot(settings, tmp_path):
    config = settings("finetune", *SHORT, "snapshot_ts=0", "num_train_frames=1010", "evaluate=false")
    launch(config, tmp_path / "run", "finetune")
    final = tmp_path / "run" / "finetuned_snapshot.pt"
    assert load(final, "snapshot")["frame"] == 1010
    launch(config | {"num_train_frames": 1110}, tmp_path / "run", "finetune", resume=True)
    assert load(final, "snapshot")["frame"] == 1110


def test_snapshots_of_another_run_are_kept(settings, tmp_path, capsys):
    config = settings("pretrain", *SHORT, "num_train_frames=1010", "snapshots=[1000]", "evaluate=false")
    folder = Path("pretrained_models/pixels/walker/dreamer/1")
    launch(config, tmp_path / "one", "pretrain")
    first = (folder / "snapshot_1000.pt").read_bytes()
    launch(config, tmp_path / "two", "pretrain")
    assert (folder / "previous_1_snapshot_1000.pt").read_bytes() == first
    assert "kept as previous_1_snapshot_1000.pt" in capsys.readouterr().out
