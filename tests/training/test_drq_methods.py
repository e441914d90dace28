"""Runs of ``drq_train.py`` with each method: what they write, how they go on after a kill, what starts from them."""

import functools
from pathlib import Path

import pytest
import torch
from drq_run_kit import QUIET, assert_same, same_weights, settings, table
from kill_kit import Killed, kill_at

from agents.drq.agent import DrQAgent
from analysis.skill_probe import load_agent
from entry.settings import composed
from entry.start import launch
from training import evaluators
from training.checkpoint import load
from training.off_policy import OffPolicyRun
from utils.advice import override

SHOWN = {"metra": 4, "cic": 11, "rnd": 0, "apt": 0}
"""Skills that stand for all at preset=debug: both directions of two axes; the grid of a cube."""

REPEAT, EPISODE = 40, 25
SHORT = (
    f"action_repeat={REPEAT}",
    "num_seed_steps=30",
    "num_train_steps=55",
    "eval_frequency=1000",
    "snapshots=[2000]",
)
"""Two short episodes and the beginning of a third."""

LOGGED = {
    "metra": {"metra_loss", "metra_grad_norm", "metra_reward", "metra_slack", "metra_dual", "metra_step"},
    "cic": {"cic_loss", "cic_grad_norm", "cic_acc", "cic_cosine", "particle_distance"},
    "rnd": {"rnd_loss", "rnd_grad_norm", "rnd_error", "rnd_std"},
    "apt": {"particle_distance"},
}


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """``ended(method)``: a run, its folder, the skills that its evaluation played, a batch that it draws at the end."""

    @functools.cache
    def made(method):
        folder, played, original = tmp_path_factory.mktemp(method) / "run", [], evaluators.play

        def play(agent, env, skill, **options):
            played.append(skill)
            return original(agent, env, skill, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluators, "play", play)
            words = (f"method={method}", f"snapshot_base_dir={folder.parent / 'snaps'}", *SHORT, *QUIET)
            run = launch(settings(*words), folder, "drq")
        return run, folder, played, run.replay.sample()

    return made


@pytest.mark.parametrize("method", SHOWN)
def test_a_run_of_each(method, ended):
    run, folder, played, batch = ended(method)
    count = SHOWN[method]
    assert run.updates == 25 and run.agent.extrinsic == 0
    candidates = run.agent.shown.candidates(torch.device("cpu"))
    assert len(candidates) == max(count, 1) and torch.equal(torch.stack(played), candidates)
    evaluated = [row for row in table(folder / "episodes.csv") if row["type"] == "eval"]
    assert [int(row["skill_id"]) for row in evaluated] == (list(range(count)) or [-1])
    (row,) = table(folder / "eval.csv")
    returns = [float(row["episode_extrinsic_reward"]) for row in evaluated]
    named = {f"skill_{k}_episode_reward": value for k, value in enumerate(returns) if count}
    assert {key: float(row[key]) for key in row if key.startswith("skill_")} == pytest.approx(named)
    assert ("best_skill_episode_reward" in row) == (count > 0)
    trained = [row for row in table(folder / "episodes.csv") if row["type"] == "train"]
    assert {row["skill_id"] for row in trained} == {"-1"}  # the skills of training are not among those
    (row,) = table(folder / "train.csv")
    assert row.keys() >= LOGGED[method] | {"critic_intrinsic_reward", "critic_total_reward"}
    assert row["critic_intrinsic_reward"] == row["critic_total_reward"]
    assert not {key for key in row if "discriminator" in key or "current_skill" in key or "sum" in key}
    assert ("skill" in batch) == (count > 0)


def test_skills_of_metra_that_are_one_hot_have_numbers(tmp_path):
    words = ("method=metra", "discrete=true", "num_skills=3", "snapshot_base_dir=snaps")
    launch(settings(*words, *SHORT, *QUIET), tmp_path / "run", "drq")
    numbers = [int(row["skill_id"]) for row in table(tmp_path / "run" / "episodes.csv")]
    assert numbers[:3] == [0, 1, 2] and {*numbers[3:]} <= {0, 1, 2}
    (row,) = table(tmp_path / "run" / "train.csv")
    assert int(float(row["current_skill"])) == numbers[-1]


def test_videos_name_the_skills(tmp_path, monkeypatch):
    written, original = [], evaluators.label
    monkeypatch.setattr(evaluators, "label", lambda frames, lines: written.append(lines) or original(frames, lines))
    words = ("method=metra", "num_train_steps=1", f"action_repeat={REPEAT}", "log_save_tb=false")
    launch(settings(*words), tmp_path / "run", "drq")
    names = ["skill (1.00, 0.00)", "skill (0.00, 1.00)", "skill (-1.00, -0.00)", "skill (-0.00, -1.00)"]
    assert written == [[name] * (EPISODE + 1) for name in names]
    made = sorted(path.name for path in (tmp_path / "run" / "video").iterdir())
    assert made == [*(f"0_skill_{k}.mp4" for k in range(4)), "0_skills.mp4"]


@pytest.mark.parametrize("method", ["metra", "rnd"])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path, monkeypatch, ended, method):
    """The dual variable, its moments, and running statistics go on where they were."""
    whole, whole_dir, _, batch = ended(method)
    config = settings(f"method={method}", "snapshot_base_dir=snaps", *SHORT, *QUIET)
    monkeypatch.setattr(OffPolicyRun, "checkpoint_due", lambda self, ended: self.step == 40)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 15)
        launch(config, tmp_path / "killed", "drq")
    resumed = launch(config, tmp_path / "killed", "drq", resume=True)
    assert_same(whole, resumed, whole_dir, tmp_path / "killed", batch["observation"])


@pytest.mark.parametrize("method", SHOWN)
def test_fine_tuning_starts_from_it(method, ended, tmp_path):
    """The command line names the file alone: method, skills and sizes are the file's."""
    _, folder, *_ = ended(method)
    snapshot = folder.parent / f"snaps/pixels/cartpole/drq_{method}/1/snapshot_2000.pt"
    start = load(snapshot, "snapshot")["modules"]
    assert ("method" in start) and ("skills" in start) == (SHOWN[method] > 0)
    words = [override("snapshot", snapshot), "task=cartpole_balance", "extrinsic_coeff=1", "device=cpu"]
    words += ["diayn_intrinsic_reward_coeff=0", "num_train_steps=1", "progress=false", "snapshots=[]", *QUIET]
    run = launch(composed("drq", words), tmp_path / "ft", "drq")
    assert run.settings.method == method and run.agent.name == f"drq_{method}"
    assert (run.agent.extrinsic, run.agent.intrinsic) == (1, 0)
    now = run.agent.snapshot_modules()
    assert all(same_weights(now[part], start[part]) for part in ("actor", "critic", "critic_target"))


def test_drq_alone_starts_from_what_explored(ended, tmp_path):
    _, folder, *_ = ended("apt")
    words = [override("snapshot", folder / "models/final_model.pt"), "method=diayn", "num_skills=0", "device=cpu"]
    words += ["num_train_steps=1", "progress=false", "snapshots=[]", *QUIET]
    run = launch(composed("drq", words), tmp_path / "ft", "drq")
    assert (run.agent.method, run.agent.discriminator, run.agent.extrinsic) == (None, None, 1)


@pytest.mark.parametrize("method", ["metra", "cic"])
def test_the_probe_takes_them(method, ended):
    run, folder, *_ = ended(method)
    agent, _ = load_agent(Path(folder, "models/final_model.pt"), 0)
    assert isinstance(agent, DrQAgent) and len(agent.shown.candidates(agent.device)) == SHOWN[method]
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(agent.embed(images), run.agent.embed(images)) and agent.skill_log_probs(images) is None
