"""Small runs of ``drq_train.py`` for tests: settings, what was written, and runs that were watched or killed."""

import contextlib
import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from settings_kit import compose_settings

from agents.drq.agent import DrQAgent
from entry.start import launch
from training import evaluators
from training.checkpoint import load
from training.off_policy import OffPolicyRun

STEPS, SEED_STEPS, EPISODE, REPEAT, SKILLS = 510, 200, 125, 8, 3
DEBUG = ("preset=debug", "task=cartpole_swingup", "device=cpu", "progress=false")
QUIET = ("save_video=false", "log_save_tb=false")
CLOCK = ("fps", "total_time", "duration")


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


class Watched(NamedTuple):
    """A finished run and what was seen of it."""

    run: OffPolicyRun
    folder: Path
    lines: list[str]
    played: list[tuple[list[float], np.ndarray]]
    """(skill, images) of every evaluation episode."""
    texts: list[list[str]]
    """What was written on every video."""

    @property
    def episodes(self):
        return table(self.folder / "episodes.csv")


def planted(self, images):
    """Log-probabilities of skills that show which image they are of, and when it was asked about."""
    if not self.skill_dim:
        return None
    codes = images[1:].long().sum((1, 2, 3)) % 97
    return torch.cos(codes[:, None] + 2.0 * torch.arange(self.skill_dim).double() + self.updates).log_softmax(-1)


def planted_probs(images, updates):
    """exp of what ``planted`` says of an episode's images (T + 1, 3, S, S), worked out step by step: (T, SKILLS)."""
    rows = []
    for image in images[1:]:
        code = int(image.astype(int).sum()) % 97
        weights = [math.exp(math.cos(code + 2.0 * k + updates)) for k in range(SKILLS)]
        rows.append([weight / sum(weights) for weight in weights])
    return np.array(rows)


def planted_rewards(images, number, updates):
    """log q(z | s) + log n of every step, (T,)."""
    return np.log(planted_probs(images, updates)[:, number]) + math.log(SKILLS)


def watch(folder, *overrides):
    played, texts, said = [], [], io.StringIO()

    def play(agent, env, skill, **options):
        found = original_play(agent, env, skill, **options)
        if found is not None:  # else this process was told to stop, and says so when the run has
            played.append((skill.tolist(), found.images))
        return found

    def label(frames, lines):
        texts.append(lines)
        return original_label(frames, lines)

    original_play, original_label = evaluators.play, evaluators.label
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(evaluators, "play", play)
        patch.setattr(evaluators, "label", label)
        patch.setattr(DrQAgent, "skill_log_probs", planted)
        marks = ("snapshots=[2400,4001,1000000]", f"snapshot_base_dir={folder / 'snaps'}")
        run = launch(settings(f"num_train_steps={STEPS}", *marks, *overrides), folder / "run", "drq")
    return Watched(run, folder / "run", said.getvalue().splitlines(), played, texts)


def assert_same(left, right, left_dir, right_dir, drawn=None):
    """``drawn``: the pictures of the first batch that ``left`` drew after its end, if it has drawn one."""
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
    drawn = left.replay.sample()["observation"] if drawn is None else drawn
    assert torch.equal(drawn, right.replay.sample()["observation"])
