"""The end of a sweep: records of its jobs, and the table made of them."""

import csv
import json
import math
import runpy
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from entry.objective import objective
from entry.scripts import SCRIPTS
from entry.stored import DIFFERS, read_config
from entry.sweep_table import RECORDS, conclude, recorded
from entry.words import Jobs
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
JOBS = Jobs(
    [[f"agent={agent}", f"seed={seed}", "preset=debug"] for agent in "ab" for seed in (1, 2)], True, ("agent", "seed")
)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Records a job of the sweep in which ``do`` raises or returns."""

    def run(number, do):
        hydra = {"job": {"num": number}, "callbacks": {"folder": {"swept": ["agent", "seed"]}}}
        config = OmegaConf.create({"hydra": hydra | {"overrides": {"task": JOBS.words[number]}}})
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        monkeypatch.setattr(HydraConfig, "get", lambda: config.hydra)
        with recorded(tmp_path, tmp_path / str(number)) as outcome:
            do(outcome)

    return run


def table(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return [
            (row["job"], row["overrides"], row["state"], row["result"], row["message"]) for row in csv.DictReader(file)
        ]


def fail(error):
    def do(outcome):
        raise error

    return do


def test_every_job_has_a_row(job, tmp_path, capsys):
    job(1, lambda outcome: outcome.finished(312.5))
    with pytest.raises(KeyboardInterrupt):
        job(2, fail(KeyboardInterrupt()))
    with pytest.raises(ZeroDivisionError):
        job(0, fail(ZeroDivisionError("of nothing")))
    assert "job 1: agent=a seed=2\n" in capsys.readouterr().out
    conclude(tmp_path, JOBS)
    assert table(tmp_path) == [
        ("0", "agent=a seed=1", "failed", "", "of nothing"),
        ("1", "agent=a seed=2", "finished", "312.5", ""),
        ("2", "agent=b seed=1", "stopped", "", "KeyboardInterrupt"),
        ("3", "agent=b seed=2", "not begun", "", ""),
    ]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"sweep: {tmp_path / 'sweep.csv'}"
    assert shown[3].split() == ["1", "finished", "312.5", "agent=a", "seed=2"]


def test_a_job_that_was_killed_has_begun_and_a_signal_after_its_end_changes_nothing(job, tmp_path):
    def finished_then_stopped(outcome):
        outcome.finished(None)
        raise KeyboardInterrupt

    def killed(outcome):
        path = tmp_path / RECORDS / "0.json"
        assert json.loads(path.read_text())["state"] == "begun"
        outcome.refused("seed=-1 is not possible")
        raise UserError("seed=-1 is not possible")

    with pytest.raises(KeyboardInterrupt):
        job(1, finished_then_stopped)
    with pytest.raises(UserError):
        job(0, killed)
    conclude(tmp_path, JOBS)
    assert [row[2] for row in table(tmp_path)] == ["refused", "finished", "not begun", "not begun"]


def test_of_an_earlier_sweep_in_the_folder_only_the_same_jobs_count(job, tmp_path):
    for number in range(3):
        job(number, lambda outcome: outcome.finished(1.0))
    now = Jobs([["agent=a", "seed=2", "preset=debug"], ["agent=c", "seed=2", "preset=debug"]], True, ("agent", "seed"))
    conclude(tmp_path, now)
    assert [(row[1], row[2]) for row in table(tmp_path)] == [
        ("agent=a seed=2", "finished"),
        ("agent=c seed=2", "not begun"),
    ]


def test_a_sweep_that_has_not_begun_has_no_table(tmp_path, capsys):
    conclude(tmp_path, JOBS)
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().out == ""


def test_a_table_that_cannot_be_written_is_shown(job, tmp_path, capsys):
    job(0, lambda outcome: outcome.finished(2.0))
    (tmp_path / "sweep.csv").mkdir()
    conclude(tmp_path, JOBS)
    out = capsys.readouterr().out
    assert "sweep.csv" in out and "finished" in out


def test_the_objective_is_the_last_value_there_is(tmp_path):
    (tmp_path / "eval.csv").write_text("episode_reward,frame,success_rate\n1.5,0,\n2.5,10,0.25\n,20,\n")
    assert objective("eval/episode_reward", tmp_path) == (2.5, "")
    assert objective("eval/success_rate", tmp_path) == (0.25, "")
    assert objective(None, tmp_path) == (None, "")
    for key, there in (("eval/reward", "success_rate"), ("train/fps", "train.csv")):
        found, why = objective(key, tmp_path)
        assert found is None and key in why and there in why


@pytest.mark.parametrize("bad", ["reward", "eval/", "tb/x", 3])
def test_an_objective_is_a_column(bad, settings):
    from entry.settings import settings_of

    with pytest.raises(UserError, match="objective="):
        settings_of("finetune", settings("finetune") | {"objective": bad})


def test_jobs_return_their_objective_to_hydra(tmp_path, monkeypatch):
    """What a sweeper that looks for settings gets, and the table of the same jobs."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    launch, returned = BasicLauncher.launch, []

    def watched(self, *arguments, **named):
        found = launch(self, *arguments, **named)
        returned.extend(job.return_value for job in found)
        return found

    monkeypatch.setattr(BasicLauncher, "launch", watched)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    file = str(ROOT / SCRIPTS["finetune"].file)
    few = ["preset=debug", "device=cpu", "progress=false", "snapshot_ts=0", "num_train_frames=510", "use_tb=false"]
    words = ["--multirun", *few, "configs=dmc_states_ar2", "save_video=false", "save_ft_model=false"]
    monkeypatch.setattr(sys, "argv", [file, *words, "objective=eval/episode_reward,null"])
    runpy.run_path(file, run_name="__main__")
    [folder] = tmp_path.glob("exp_sweep/*/*")
    rows = table(folder)
    assert [row[:3] for row in rows] == [
        ("0", "objective=eval/episode_reward", "finished"),
        ("1", "objective=null", "finished"),
    ]
    assert math.isfinite(returned[0]) and float(rows[0][3]) == returned[0]
    assert returned[1] is None and rows[1][3] == ""
    for number, (_, overrides, *_) in enumerate(rows):
        assert read_config(folder / str(number))[DIFFERS] == [overrides]
