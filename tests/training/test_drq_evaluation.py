"""Evaluations of ``drq_train.py``: every skill is played, judged and filmed, and training does not notice."""

import math
import re
import weakref

import numpy as np
import pytest
import torch
from drq_run_kit import (
    EPISODE,
    QUIET,
    REPEAT,
    SEED_STEPS,
    SKILLS,
    planted_probs,
    planted_rewards,
    same_weights,
    settings,
    table,
    timeless,
    weights,
)

from entry.start import launch
from training import evaluators


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_evaluation_plays_every_skill(skilled, plain):
    one_hots = [[float(k == j) for j in range(SKILLS)] for k in range(SKILLS)]
    assert [skill for skill, _ in skilled.played] == one_hots * 3
    assert [skill for skill, _ in plain.played] == [[]] * (2 * 3)
    rows = [row for row in skilled.episodes if row["type"] == "eval"]
    for row, (_, images), texts in zip(rows, skilled.played, skilled.texts, strict=True):
        number, updates = int(row["skill_id"]), max(int(row["step"]) - SEED_STEPS, 0)
        rewards = planted_rewards(images, number, updates)
        assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(rewards.sum(), rel=1e-9)
        assert len(images) == EPISODE + 1 and texts[0] == f"skill {number}"
        for text, reward in zip(texts[1:], rewards, strict=True):
            name, value = re.fullmatch(r"(skill \d)  IR: (-?\d+\.\d{4})", text).groups()
            assert name == f"skill {number}" and float(value) == pytest.approx(reward, abs=5.1e-5)
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
            assert not [key for key in row if "skill" in key or "diayn" in key]


def test_the_discriminator_is_measured_on_all_steps_of_an_evaluation(skilled):
    rows = table(skilled.folder / "eval.csv")
    assert len(rows) * SKILLS == len(skilled.played)
    shares = set()
    for number, row in enumerate(rows):
        updates = max(int(row["step"]) - SEED_STEPS, 0)
        played = skilled.played[SKILLS * number : SKILLS * (number + 1)]
        probs = [planted_probs(images, updates) for _, images in played]
        hits = [p.argmax(1) == np.argmax(skill) for (skill, _), p in zip(played, probs, strict=True)]
        assert float(row["diayn_acc"]) == pytest.approx(np.concatenate(hits).mean(), rel=1e-9)
        mean = np.concatenate(probs).mean(0)
        assert float(row["diayn_entropy"]) == pytest.approx(-(mean * np.log(mean)).sum(), rel=1e-9)
        shares.add(row["diayn_acc"])
    assert len(shares) > 1


def test_videos_show_whole_episodes_in_a_large_picture(skilled):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = str(skilled.folder / "video" / "250_skill_1.mp4")
    frames = imageio_ffmpeg.read_frames(path)
    about = next(frames)
    assert about["size"] == (256, 256) and about["fps"] == 25
    assert len(list(frames)) == EPISODE + 1


def test_the_grid_shows_what_the_videos_of_the_skills_show(skilled):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def movie(name):
        frames = imageio_ffmpeg.read_frames(str(skilled.folder / "video" / name))
        about = next(frames)
        width, height = about["size"]
        assert about["fps"] == 25
        return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames]).astype(float)

    grid = movie("500_skills.mp4")
    # two columns and rows of 128 pixels, borders of two, sides made even
    assert grid.shape == (EPISODE + 1, 262, 262, 3)
    alone = [movie(f"500_skill_{k}.mp4")[:, ::2, ::2] for k in range(SKILLS)]
    for k in range(SKILLS):
        top, left = 2 + 130 * (k // 2), 2 + 130 * (k % 2)
        tile = grid[:, top + 30 : top + 128, left : left + 128]  # below the text
        errors = [np.abs(tile - other[:, 30:]).mean() for other in alone]
        assert np.argmin(errors) == k and errors[k] < 3, errors
    assert np.abs(grid[:, 134:260, 134:260] - 48).mean() < 3  # nothing in the fourth place


@pytest.mark.parametrize(("state", "judged"), [("current", 0), ("next", 1)])
def test_what_is_logged_is_said_by_the_agent_that_acts(tmp_path, monkeypatch, state, judged):
    """Nothing planted: the agent at the end of the seed steps, which has not learned yet, is the final one."""
    played, original = [], evaluators.play

    def play(agent, env, skill, **options):
        found = original(agent, env, skill, **options)
        played.append((int(skill.argmax()), found.images))
        return found

    monkeypatch.setattr(evaluators, "play", play)
    few = ("num_train_steps=130", "num_seed_steps=130", "eval_frequency=1000", f"reward_state={state}")
    run = launch(settings(*few, *QUIET), tmp_path / "run", "drq")
    assert run.updates == 0

    def log_probs(images):
        images = torch.from_numpy(images)
        found = []
        for t in range(judged, EPISODE + judged):
            stack = torch.stack([images[max(t - back, 0)] for back in (2, 1, 0)])
            with torch.no_grad():
                features = run.agent.discriminator.encoder(stack.flatten(0, 1)[None])
                found.append(run.agent.discriminator.classifier.net(features)[0].double().log_softmax(-1))
        return torch.stack(found)

    *evaluated, trained = table(tmp_path / "run" / "episodes.csv")
    expected = [log_probs(images) for _, images in played]
    for row, (skill, _), logs in zip(evaluated, played, expected, strict=True):
        total = float(logs[:, skill].sum()) + EPISODE * math.log(SKILLS)
        assert float(row["episode_intrinsic_reward_sum"]) == pytest.approx(total, rel=1e-4, abs=1e-3)
    logs = log_probs(run.replay.read(0, 0, EPISODE + 1)["observation"])
    total = float(logs[:, int(trained["skill_id"])].sum()) + EPISODE * math.log(SKILLS)
    assert float(trained["episode_intrinsic_reward_sum"]) == pytest.approx(total, rel=1e-4, abs=1e-3)
    (row,) = table(tmp_path / "run" / "eval.csv")
    hits = [logs.argmax(1) == skill for (skill, _), logs in zip(played, expected, strict=True)]
    assert float(row["diayn_acc"]) == pytest.approx(float(torch.cat(hits).double().mean()), rel=1e-9)
    mean = torch.cat(expected).exp().mean(0)
    assert float(row["diayn_entropy"]) == pytest.approx(-float((mean * mean.log()).sum()), rel=1e-5)


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
    original = evaluators.play

    def play(*arguments, **options):
        alive.append(sum(reference() is not None for reference in seen))
        found = original(*arguments, **options)
        assert found.pictures.shape == (EPISODE + 1, 256, 256, 3)
        seen.extend([weakref.ref(found.images), weakref.ref(found.pictures)])
        return found

    monkeypatch.setattr(evaluators, "play", play)
    launch(settings("num_train_steps=1", "log_save_tb=false"), tmp_path / "run", "drq")
    assert alive == [0] * SKILLS
