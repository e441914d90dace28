"""Runs of ``drq_train.py``: the files, rows, lines, models and snapshots they leave."""

import math
import re

import numpy as np
import pytest
from drq_run_kit import (
    EPISODE,
    QUIET,
    REPEAT,
    SEED_STEPS,
    SKILLS,
    STEPS,
    planted_rewards,
    same_weights,
    settings,
    table,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from entry.start import launch
from training.checkpoint import load
from training.run import CHECKPOINT
from utils.errors import UserError

HEADER = "type,episode,step,duration,episode_extrinsic_reward,skill_id,episode_intrinsic_reward_sum"


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_output_tree(watched):
    found = {str(path.relative_to(watched.folder)) for path in watched.folder.rglob("*") if path.is_file()}
    skills = SKILLS if watched.run.agent.skill_dim else 1
    videos = {f"video/{step}_skill_{k}.mp4" for step in (0, 250, 500) for k in range(skills)}
    if watched.run.agent.skill_dim:
        videos |= {f"video/{step}_skills.mp4" for step in (0, 250, 500)}
    models = {f"models/model_{step}.pt" for step in (0, 250, 500)} | {"models/final_model.pt"}
    plain_files = {"train.csv", "eval.csv", "episodes.csv", "config.yaml", CHECKPOINT}
    rest = {name for name in found - videos - models - plain_files if not name.startswith(("tb/", "replay/"))}
    assert videos | models | plain_files <= found and rest == set()
    assert len(list((watched.folder / "tb").iterdir())) == 1


def test_rows_of_episodes_csv(watched):
    assert (watched.folder / "episodes.csv").read_text().splitlines()[0] == HEADER
    skilled = watched.run.agent.skill_dim > 0
    evaluation = [("eval", 0, k) for k in range(SKILLS)] if skilled else [("eval", 0, -1), ("eval", 1, -1)]
    expected = [(*row, 0) for row in evaluation]
    for number in (1, 2, 3, 4):
        expected.append(("train", number, None, number * EPISODE))
        expected += [(*row, number * EPISODE) for row in evaluation if number in (2, 4)]
    assert len(watched.episodes) == len(expected)
    for row, (kind, episode, skill, step) in zip(watched.episodes, expected, strict=True):
        assert (row["type"], row["episode"], row["step"]) == (kind, str(episode), str(step))
        assert math.isfinite(float(row["episode_extrinsic_reward"]))
        if kind == "eval":
            assert (row["duration"], row["skill_id"]) == ("-1", str(skill))
        else:
            assert float(row["duration"]) > 0
            assert row["skill_id"] in ([str(k) for k in range(SKILLS)] if skilled else ["-1"])
        assert skilled or row["episode_intrinsic_reward_sum"] == "0"


def test_training_rows_are_what_the_replay_holds(watched):
    rows = [row for row in watched.episodes if row["type"] == "train"]
    replay = watched.run.replay
    assert len(rows) == replay.num_episodes == 4
    drawn = set()
    for row, (stream, start, length) in zip(rows, replay.episodes, strict=True):
        records = replay.read(int(stream), int(start), int(length))
        assert length == EPISODE + 1 and records["is_first"][0] and records["is_last"][-1]
        assert float(row["episode_extrinsic_reward"]) == pytest.approx(records["reward"].astype(float).sum(), rel=1e-6)
        if watched.run.agent.skill_dim:
            number = int(row["skill_id"])
            drawn.add(number)
            assert (records["skill"] == np.eye(SKILLS, dtype=np.float32)[number]).all()
            updates = max(int(row["step"]) - SEED_STEPS, 0)
            expected = planted_rewards(records["observation"], number, updates).sum()
            assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(expected, rel=1e-9)
    assert len(drawn) > 1 or not watched.run.agent.skill_dim


def test_train_csv(watched):
    rows = table(watched.folder / "train.csv")
    # the first episode ended before there were updates
    assert [(row["step"], row["frame"], row["episode"]) for row in rows] == [
        (str(number * EPISODE), str(number * EPISODE * REPEAT), str(number)) for number in (2, 3, 4)
    ]
    named = [row for row in watched.episodes if row["type"] == "train"][1:]
    for row, episode in zip(rows, named, strict=True):
        assert row["episode_reward"] == episode["episode_extrinsic_reward"]
        assert row["duration"] == episode["duration"]
        wanted = ["actor_loss", "critic_loss", "alpha_loss", "alpha_value", "actor_entropy", "batch_reward", "duration"]
        if watched.run.agent.skill_dim:
            wanted += ["discriminator_loss", "diayn_acc", "critic_intrinsic_reward", "critic_total_reward"]
            assert row["current_skill"] == episode["skill_id"]
            assert row["episode_intrinsic_reward_sum"] == episode["episode_intrinsic_reward_sum"]
        assert all(math.isfinite(float(row[key])) for key in wanted)
    assert ("discriminator_loss" in rows[0]) == (watched.run.agent.skill_dim > 0)


def test_console_lines_are_the_published_ones(watched):
    """E, S, R, ... in the order and form of the published program (docs/agents/drq.md)."""
    expected = []
    for row in table(watched.folder / "train.csv"):
        numbers = {key: float(value) for key, value in row.items() if value}
        line = f"| train | E: {row['episode']} | S: {row['frame']} | R: {numbers['episode_reward']:.4f}"
        line += f" | D: {numbers['duration']:.1f} s | BR: {numbers['batch_reward']:.4f}"
        line += f" | ALOSS: {numbers['actor_loss']:.4f} | CLOSS: {numbers['critic_loss']:.4f}"
        line += f" | TLOSS: {numbers['alpha_loss']:.4f} | TVAL: {numbers['alpha_value']:.4f}"
        expected.append(f"{line} | AENT: {numbers['actor_entropy']:.4f}")
    for row in table(watched.folder / "eval.csv"):
        expected.append(f"| eval  | E: {row['episode']} | S: {row['frame']} | R: {float(row['episode_reward']):.4f}")
    assert len(expected) == 6
    assert sorted(line for line in watched.lines if line.startswith("|")) == sorted(expected)


def test_what_the_user_is_told(skilled):
    (note,) = [line for line in skilled.lines if line.startswith("note: ")]
    assert "num_train_steps=510" in note and "frame 4080" in note and "snapshots=[1000000]" in note
    assert "num_train_frames" not in "\n".join(skilled.lines)


def test_updates_are_steps_after_the_seed_times_iterations(skilled, plain):
    assert skilled.run.updates == skilled.run.agent.updates == STEPS - SEED_STEPS
    assert plain.run.updates == plain.run.agent.updates == 2 * (STEPS - SEED_STEPS)


def test_tensorboard(watched):
    events = EventAccumulator(str(watched.folder / "tb"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/critic_loss", "train/episode_reward", "train/duration", "eval/episode_reward"} <= scalars
    assert [event.step for event in events.Scalars("eval/episode_reward")] == [0, 2000, 4000]
    assert [event.step for event in events.Scalars("train/episode_reward")] == [2000, 3000, 4000]
    # single updates every log_frequency_step=50 steps, at the multiples
    assert [event.step for event in events.Scalars("train/critic_loss")] == [8 * step for step in range(200, 501, 50)]
    if watched.run.agent.skill_dim:
        assert {f"eval/skill_{k}_episode_reward" for k in range(SKILLS)} <= scalars
        assert {"eval/diayn_acc", "eval/diayn_entropy"} <= scalars
        assert any(re.fullmatch(r"train/skill_\d_episode_intrinsic_reward_sum", name) for name in scalars)
    skills = [f"eval/skill_{k}_video" for k in range(SKILLS)] + ["eval/skills_video"]
    assert sorted(events.Tags()["images"]) == (skills if watched.run.agent.skill_dim else ["eval/skill_0_video"])


def test_models(watched):
    folder = watched.folder / "models"
    for name, step in (("model_0", 0), ("model_250", 250), ("model_500", 500), ("final_model", STEPS)):
        content = load(folder / f"{name}.pt", "snapshot")
        per_step = 1 if watched.run.agent.skill_dim else 2
        updates = per_step * max(step - SEED_STEPS, 0)
        assert (content["step"], content["frame"], content["updates"]) == (step, REPEAT * step, updates)
        assert content["episode"] == step // EPISODE and content["config"]["batch_size"] == 8
        assert {"actor", "critic", "critic_target", "temperature"} <= content["modules"].keys()
        assert ("discriminator" in content["modules"]) == (watched.run.agent.skill_dim > 0)
    for part, state in watched.run.agent.snapshot_modules().items():
        assert same_weights(content["modules"][part], state)
    first = load(folder / "model_0.pt", "snapshot")["modules"]
    assert not same_weights(first["critic"], content["modules"]["critic"])


def test_snapshots_lie_where_fine_tuning_looks_for_them(watched):
    folder = watched.folder.parent / "snaps/pixels/cartpole"
    name = "drq_diayn" if watched.run.agent.skill_dim else "drq"
    assert [path.name for path in folder.iterdir()] == [name]
    found = {path.name: load(path, "snapshot")["frame"] for path in (folder / name / "1").iterdir()}
    assert found == {"snapshot_2400.pt": 2400, "snapshot_4001.pt": 4008}


@pytest.mark.parametrize(
    ("override", "task"),
    [("env=dmc_cartpole_swingup", "cartpole_swingup"), ("task=cup_catch", "ball_in_cup_catch")],
)
def test_other_published_names_of_tasks(tmp_path, override, task):
    few = ("task=walker_run", "num_skills=0", "num_train_steps=2", "num_seed_steps=1", *QUIET)
    run = launch(settings(*few, override), tmp_path / "run", "drq")
    assert run.settings.task == task and run.step == 2
    content = load(tmp_path / "run/models/final_model.pt", "snapshot")
    assert content["config"]["task"] == task


def test_a_run_without_its_log_leaves_nothing_behind(tmp_path, monkeypatch):
    def no_login(*arguments, **named):
        raise UserError("use_wandb=true needs a login.")

    monkeypatch.setattr("entry.start.Logger", no_login)
    with pytest.raises(UserError, match="needs a login"):
        launch(settings(*QUIET), tmp_path / "run", "drq")
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []


def test_a_folder_with_records_of_another_run_is_left_as_it_was(tmp_path):
    segment = tmp_path / "run/replay/stream_0/segment_0.bin"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"records of another run")
    with pytest.raises(UserError, match=r"hydra\.run\.dir: .*replay/"):
        launch(settings(*QUIET), tmp_path / "run", "drq")
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [segment]
