"""Whole runs of ``drq_train.py`` at debug size: what they write, what they count, and that they resume exactly."""

import contextlib
import csv
import io
import math
import os
import re
import signal
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from settings_kit import compose_settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.drq.agent import DrQAgent
from training import drq_run
from training.checkpoint import load, save
from training.drq_run import CHUNK, DrQRun
from training.off_policy import CHECKPOINT, OffPolicyRun
from training.start import launch
from utils.errors import UserError

STEPS, SEED_STEPS, EPISODE, REPEAT, SKILLS = 510, 200, 125, 8, 3
DEBUG = ("drq_preset=debug", "task=cartpole_swingup", "device=cpu", "progress=false")
QUIET = ("save_video=false", "log_save_tb=false")
HEADER = "type,episode,step,duration,episode_extrinsic_reward,skill_id,episode_intrinsic_reward_sum"
CLOCK = ("fps", "total_time", "duration")


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def settings(*overrides):
    return compose_settings("drq", *DEBUG, *overrides)


def table(path):
    """Rows of a CSV, everything as text."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(path):
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in table(path)]


def weights(run):
    return run.agent.training_state()["modules"]


def same_weights(left, right):
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])] == []


# ---- one run with skills and one without, looked at by many tests


class Watched(NamedTuple):
    """A finished run and what was seen of it."""

    run: DrQRun
    folder: Path
    lines: list[str]
    played: list[tuple[list[float], np.ndarray]]
    """(skill, images) of every evaluation episode."""
    texts: list[list[str]]
    """What was written on every video."""

    @property
    def episodes(self):
        return table(self.folder / "episodes.csv")


PLACE_WEIGHTS = (1.0, 10.0, 100.0)


def planted(self, frames, skill):
    """A reward that shows which frames it was asked about, in which order, under which skill, and when."""
    brightness = frames.float().mean((2, 3, 4)) / 255
    number = (skill * torch.arange(skill.shape[1])).sum(-1)
    return (brightness * torch.tensor(PLACE_WEIGHTS)).sum(-1) + 1000 * number + 0.5 * self.updates


def planted_rewards(images, number, updates):
    """What ``planted`` says of an episode's images (T + 1, 3, S, S), worked out step by step."""
    rewards = []
    for t in range(1, len(images)):
        stack = [images[max(t - 2, 0)], images[max(t - 1, 0)], images[t]]
        seen = sum(
            weight * image.astype(float).mean() / 255 for weight, image in zip(PLACE_WEIGHTS, stack, strict=True)
        )
        rewards.append(seen + 1000 * number + 0.5 * updates)
    return rewards


def watch(folder, *overrides):
    played, texts, said = [], [], io.StringIO()

    def play(agent, env, skill, **options):
        found = original_play(agent, env, skill, **options)
        played.append((skill.tolist(), found.images))
        return found

    def label(frames, lines):
        texts.append(lines)
        return original_label(frames, lines)

    original_play, original_label = drq_run.play, drq_run.label
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(drq_run, "play", play)
        patch.setattr(drq_run, "label", label)
        patch.setattr(DrQAgent, "intrinsic_reward", planted)
        marks = ("snapshots=[2400,4001,1000000]", f"snapshot_base_dir={folder / 'snaps'}")
        run = launch(settings(f"num_train_steps={STEPS}", *marks, *overrides), folder / "run", "drq")
    return Watched(run, folder / "run", said.getvalue().splitlines(), played, texts)


@pytest.fixture(scope="module")
def skilled(tmp_path_factory):
    return watch(tmp_path_factory.mktemp("skilled"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return watch(tmp_path_factory.mktemp("plain"), "num_skills=0", "num_train_iters=2", "num_eval_episodes=2")


@pytest.fixture(params=["skilled", "plain"])
def watched(request):
    return request.getfixturevalue(request.param)


def test_the_output_tree(watched):
    found = {str(path.relative_to(watched.folder)) for path in watched.folder.rglob("*") if path.is_file()}
    skills = SKILLS if watched.run.agent.skill_dim else 1
    videos = {f"video/{step}_skill_{k}.mp4" for step in (0, 250, 500) for k in range(skills)}
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
            expected = sum(planted_rewards(records["observation"], number, updates))
            assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(expected, rel=1e-5)
    assert len(drawn) > 1 or not watched.run.agent.skill_dim


def test_every_evaluation_plays_every_skill(skilled, plain):
    one_hots = [[float(k == j) for j in range(SKILLS)] for k in range(SKILLS)]
    assert [skill for skill, _ in skilled.played] == one_hots * 3
    assert [skill for skill, _ in plain.played] == [[]] * (2 * 3)
    rows = [row for row in skilled.episodes if row["type"] == "eval"]
    for row, (_, images), texts in zip(rows, skilled.played, skilled.texts, strict=True):
        number, updates = int(row["skill_id"]), max(int(row["step"]) - SEED_STEPS, 0)
        rewards = planted_rewards(images, number, updates)
        assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(sum(rewards), rel=1e-5)
        assert len(images) == EPISODE + 1 and texts[0] == f"skill {number}"
        for text, reward in zip(texts[1:], rewards, strict=True):
            name, value = re.fullmatch(r"(skill \d)  IR: (-?\d+\.\d{4})", text).groups()
            assert name == f"skill {number}" and float(value) == pytest.approx(reward, rel=1e-5)
    assert plain.texts == [[""] * (EPISODE + 1)] * 3


def test_eval_csv_sums_up_the_evaluation_rows(watched):
    rows = table(watched.folder / "eval.csv")
    assert [(row["step"], row["frame"], row["episode"]) for row in rows] == [
        (str(step), str(REPEAT * step), str(step // EPISODE)) for step in (0, 250, 500)
    ]
    for row in rows:
        returns = {}
        for episode in watched.episodes:
            if episode["type"] == "eval" and episode["step"] == row["step"]:
                returns.setdefault(int(episode["skill_id"]), []).append(float(episode["episode_extrinsic_reward"]))
        means = {skill: sum(values) / len(values) for skill, values in returns.items()}
        assert float(row["episode_reward"]) == pytest.approx(sum(means.values()) / len(means), rel=1e-9)
        if watched.run.agent.skill_dim:
            assert float(row["best_skill_episode_reward"]) == pytest.approx(max(means.values()), rel=1e-9)
            for skill, value in means.items():
                assert float(row[f"skill_{skill}_episode_reward"]) == pytest.approx(value, rel=1e-9)
                assert f"skill_{skill}_episode_intrinsic_reward_sum" in row
        else:
            assert not [key for key in row if "skill" in key]


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
    """Card section 2.4."""
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
    assert "num_train_steps=510" in note and "4080 frames" in note and "snapshots=[1000000]" in note
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
        assert any(re.fullmatch(r"train/skill_\d_episode_intrinsic_reward_sum", name) for name in scalars)
    assert len(events.Tags()["images"]) == (SKILLS if watched.run.agent.skill_dim else 1)


def test_videos_show_whole_episodes_in_a_large_picture(skilled):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = str(skilled.folder / "video" / "250_skill_1.mp4")
    frames = imageio_ffmpeg.read_frames(path)
    about = next(frames)
    assert about["size"] == (256, 256) and about["fps"] == 25
    assert len(list(frames)) == EPISODE + 1


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


# ---- the intrinsic reward of an episode


@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
@pytest.mark.parametrize("stack", [1, 2, 3])
@pytest.mark.parametrize("judges_next", [True, False])
def test_stacks_that_are_judged(steps, stack, judges_next):
    asked = []

    def judge(frames, skill):
        assert len(frames) == len(skill) <= CHUNK
        asked.extend(frames[:, :, 0, 0, 0].tolist())
        assert (skill == torch.tensor([0.0, 1.0])).all()
        return frames[:, -1, 0, 0, 0].float() - 2 * frames[:, 0, 0, 0, 0].float()

    agent = SimpleNamespace(
        skill_dim=2, stack=stack, judges_next=judges_next, device=torch.device("cpu"), intrinsic_reward=judge
    )
    images = np.zeros((steps + 1, 3, 2, 2), np.uint8) + np.arange(steps + 1, dtype=np.uint8)[:, None, None, None]
    rewards = DrQRun._intrinsic(SimpleNamespace(agent=agent), images, np.array([0, 1], np.float32))
    states = range(1, steps + 1) if judges_next else range(steps)
    expected = [[max(state - back, 0) for back in reversed(range(stack))] for state in states]
    assert asked == expected
    assert rewards.tolist() == [numbers[-1] - 2 * numbers[0] for numbers in expected]


def test_logged_rewards_are_those_of_the_agent_that_acts(tmp_path):
    """Nothing planted: the agent at the end of the seed steps, which has not learned yet, is the final one."""
    few = ("num_train_steps=130", "num_seed_steps=130", "eval_frequency=1000", "reward_state=current")
    run = launch(settings(*few, *QUIET), tmp_path / "run", "drq")
    (row,) = [row for row in table(tmp_path / "run" / "episodes.csv") if row["type"] == "train"]
    records = run.replay.read(0, 0, EPISODE + 1)
    images = torch.from_numpy(records["observation"])
    total = 0.0
    for t in range(EPISODE):
        stack = torch.stack([images[max(t - back, 0)] for back in (2, 1, 0)])
        with torch.no_grad():
            logits = run.agent.discriminator.classifier.net(run.agent.discriminator.encoder(stack.flatten(0, 1)[None]))
        total += float(logits.log_softmax(-1)[0, int(row["skill_id"])]) + math.log(SKILLS)
    assert run.updates == 0
    assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(total, rel=1e-4, abs=1e-3)


# ---- evaluation


def test_evaluation_does_not_change_training(tmp_path):
    common = ("num_train_steps=270", "num_seed_steps=240", "num_skills=2")
    variants = {
        "once": (*QUIET,),
        "twice": (*QUIET, "num_eval_episodes=2"),
        "filmed": ("eval_frequency=130",),
        "hardly": (*QUIET, "eval_frequency=100000"),
    }
    runs = {name: launch(settings(*common, *more), tmp_path / name, "drq") for name, more in variants.items()}
    batches = {name: run.replay.sample() for name, run in runs.items()}
    assert runs["once"].updates == 30
    for name, run in runs.items():
        assert same_weights(weights(run), weights(runs["once"])), name
        assert same_weights(batches[name], batches["once"]), name
        assert timeless(tmp_path / name / "train.csv") == timeless(tmp_path / "once" / "train.csv") != []
    assert [row["step"] for row in table(tmp_path / "filmed" / "eval.csv")] == ["0", "130", "260"]
    assert [row["step"] for row in table(tmp_path / "hardly" / "eval.csv")] == ["0"]
    assert len(table(tmp_path / "twice" / "episodes.csv")) == 2 * 2 * 2 + 2


def test_pictures_of_an_evaluation_are_not_piled_up(tmp_path, monkeypatch):
    seen, alive = [], []
    original = drq_run.play

    def play(*arguments, **options):
        alive.append(sum(reference() is not None for reference in seen))
        found = original(*arguments, **options)
        seen.append(weakref.ref(found.images))
        return found

    monkeypatch.setattr(drq_run, "play", play)
    launch(settings("num_train_steps=1", "log_save_tb=false"), tmp_path / "run", "drq")
    assert alive == [0] * SKILLS


# ---- resuming


class Killed(Exception):
    """Stands for SIGKILL."""


def kill_at(monkeypatch, update):
    original = OffPolicyRun.update

    def dying(self, due):
        original(self, due)
        if self.updates >= update:
            raise Killed

    monkeypatch.setattr(OffPolicyRun, "update", dying)


def assert_same(left, right, left_dir, right_dir):
    assert same_weights(weights(left), weights(right))
    for name in ("train.csv", "eval.csv", "episodes.csv"):
        assert timeless(left_dir / name) == timeless(right_dir / name) != []
    names = [sorted(path.name for path in (folder / "models").iterdir()) for folder in (left_dir, right_dir)]
    assert names[0] == names[1]
    for name in names[0]:
        one, two = (load(folder / "models" / name, "snapshot") for folder in (left_dir, right_dir))
        assert one["step"] == two["step"] and one["updates"] == two["updates"]
        for part, state in one["modules"].items():
            assert same_weights(state, two["modules"][part]), name
    assert torch.equal(left.replay.sample()["observation"], right.replay.sample()["observation"])


@pytest.mark.parametrize("num_skills", [0, 3])
@pytest.mark.parametrize("checkpoint_at", [240, 300, None])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path, monkeypatch, num_skills, checkpoint_at):
    """From before rows, videos and models that must be written again, in mid-episode, or from nothing."""
    config = settings("num_train_steps=380", f"num_skills={num_skills}", *QUIET)
    monkeypatch.setattr(DrQRun, "_checkpoint_due", lambda self, ended: self.step == checkpoint_at)
    whole = launch(config, tmp_path / "whole", "drq")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 120)
        launch(config, tmp_path / "killed", "drq")
    assert len(table(tmp_path / "killed" / "episodes.csv")) == 2 + 2 * max(num_skills, 1)
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert_same(whole, resumed, tmp_path / "whole", tmp_path / "killed")
    assert len(table(tmp_path / "killed" / "episodes.csv")) == 3 + 2 * max(num_skills, 1)
    assert all(float(row["duration"]) > 0 for row in table(tmp_path / "killed" / "train.csv"))


def test_a_duration_goes_on_after_a_resume(tmp_path, monkeypatch):
    """Seconds of an episode: those before the kill up to the checkpoint, and those after the resume; no others."""
    config = settings("num_train_steps=380", "eval_frequency=100000", *QUIET)
    monkeypatch.setattr(DrQRun, "_checkpoint_due", lambda self, ended: self.step == 300)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 120)
        launch(config, tmp_path / "run", "drq")
    path = tmp_path / "run" / CHECKPOINT
    content = load(path, "checkpoint")
    assert 0 < content["own"]["episode_seconds"] < content["logger"]["elapsed"]
    content["own"]["episode_seconds"] = 1000.0
    save(path, "checkpoint", {key: content[key] for key in content if key not in ("format", "kind", "commit")})
    launch(config, tmp_path / "run", "drq", resume=True)
    last = [row for row in table(tmp_path / "run" / "episodes.csv") if row["type"] == "train"][-1]
    assert 1000 < float(last["duration"]) < 1100


def test_an_evaluation_that_ctrl_c_cuts_short_is_made_again(tmp_path, monkeypatch):
    config = settings("num_train_steps=260", *QUIET)
    whole = launch(config, tmp_path / "whole", "drq")
    original, calls = drq_run.play, []

    def play(*arguments, **options):
        calls.append(0)
        if len(calls) == SKILLS + 2:  # the second skill of the second evaluation
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(drq_run, "play", play)
        launch(config, tmp_path / "stopped", "drq")
    assert len(table(tmp_path / "stopped" / "eval.csv")) == 1
    assert len(table(tmp_path / "stopped" / "episodes.csv")) == SKILLS + 2
    resumed = launch(config, tmp_path / "stopped", "drq", resume=True)
    assert_same(whole, resumed, tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_run_and_one_that_is_made_longer(tmp_path, capsys):
    config, folder = settings("num_train_steps=210", "num_skills=0", *QUIET), tmp_path / "run"
    launch(config, folder, "drq")
    before = (folder / "models/final_model.pt").stat().st_mtime_ns
    launch(config, folder, "drq", resume=True)
    assert "is finished" in capsys.readouterr().out
    assert (folder / "models/final_model.pt").stat().st_mtime_ns == before
    longer = launch(config | {"num_train_steps": 220}, folder, "drq", resume=True)
    final = load(folder / "models/final_model.pt", "snapshot")
    assert final["step"] == 220
    assert same_weights(final["modules"]["critic"], longer.agent.critic.state_dict())


# ---- updates that go wrong


def test_an_update_that_is_no_number_stops_the_run_or_is_left_out(tmp_path, monkeypatch):
    original, before = DrQAgent.update, {}

    def poisoned(self, batch):
        here = self.updates
        if here == 20 and not before:
            before.update({key: value.clone() for key, value in self.training_state()["modules"].items()})
        metrics = original(self, batch)
        if here == 20 and poisoned.times > 0:
            poisoned.times -= 1
            metrics["critic_loss"] = torch.tensor(float("nan"))
        return metrics

    poisoned.times = 2
    monkeypatch.setattr(DrQAgent, "update", poisoned)
    config = settings("num_train_steps=240", *QUIET)
    with pytest.raises(UserError, match="critic_loss is nan in update 20 .*on_nan=skip"):
        launch(config, tmp_path / "run", "drq")
    content = load(tmp_path / "run" / CHECKPOINT, "checkpoint")
    assert content["agent"]["updates"] == 20 and content["counters"]["step"] == SEED_STEPS + 20
    assert same_weights(content["agent"]["modules"], before)
    run = launch(config | {"on_nan": "skip"}, tmp_path / "run", "drq", resume=True)
    assert (run.counters.skipped, run.updates, run.agent.updates, run.step) == (1, 39, 39, 240)
    assert all(torch.isfinite(value).all() for value in weights(run).values())


# ---- starting from a snapshot


@pytest.fixture
def snapshot(skilled):
    return skilled.folder.parent / "snaps/pixels/cartpole/drq_diayn/1/snapshot_2400.pt"


BALANCE = ("task=cartpole_balance", "num_train_steps=1", "extrinsic_coeff=1", "diayn_intrinsic_reward_coeff=0", *QUIET)


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
    monkeypatch.setattr(DrQRun, "_checkpoint_due", lambda self, ended: self.step == 215)
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
        (["render_size=48"], "observation=[[3, 48, 48]"),
        (["task=finger_spin"], "action=[[2]"),
        (["action_repeat=4"], "action_repeat=4"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(snapshot, tmp_path, overrides, named):
    with pytest.raises(UserError) as caught:
        launch(settings(*BALANCE, f"snapshot={snapshot}", *overrides), tmp_path / "ft", "drq")
    assert named in str(caught.value)
    assert not (tmp_path / "ft" / "episodes.csv").exists() and not (tmp_path / "ft" / "replay").exists()


def test_a_snapshot_that_is_none_is_refused(tmp_path):
    save(tmp_path / "dreamer.pt", "snapshot", {"agent": "dreamer", "config": {}, "spec": {}, "modules": {}})
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 broken")
    for name, expected in (
        ("nowhere.pt", "there is no such file"),
        ("dreamer.pt", "agent=dreamer, not of DrQ"),
        ("broken.pt", "not a readable snapshot"),
    ):
        with pytest.raises(UserError, match=expected):
            launch(settings(*BALANCE, f"snapshot={tmp_path / name}"), tmp_path / "ft", "drq")


# ---- names of tasks


@pytest.mark.parametrize(
    ("override", "task"),
    [("env=dmc_cartpole_swingup", "cartpole_swingup"), ("task=cup_catch", "ball_in_cup_catch")],
)
def test_other_published_names_of_tasks(tmp_path, override, task):
    few = ("task=walker_run", "num_skills=0", "num_train_steps=2", "num_seed_steps=1", *QUIET)
    run = launch(settings(*few, override), tmp_path / "run", "drq")
    assert run.config["task"] == task and run.step == 2
    content = load(tmp_path / "run/models/final_model.pt", "snapshot")
    assert content["config"]["task"] == task
