"""A study of the real scripts, as small as can be: one from scratch, one pre-trained, fine-tuned and looked at."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dataset_kit import exorl_noise
from process_kit import gone

from studying.command import main

ROOT = Path(__file__).resolve().parent.parent.parent

STUDY = """
agents: [diayn_dreamer]
tasks: [walker_walk]
baselines: [dreamer]
configs: dmc_states_ar2
preset: debug
overrides: [action_repeat=20, device=cpu, save_video=false, use_tb=false, num_eval_episodes=1, train_every_actions=60]
pretrain: {seeds: [1], frames: 1060, overrides: [evaluate=false]}
finetune: {seeds: [2], frames: 2000, snapshots: [1040]}
skills: {agents: [diayn_dreamer], episodes: 1}
"""
RUNS = (
    "pretrain-walker-diayn_dreamer-p1",
    "skills-walker_walk-diayn_dreamer-p1-1040-s0",
    "walker_walk-dreamer-scratch-s2",
    "walker_walk-diayn_dreamer-p1-1040-s2",
)


def returns(folder):
    with (folder / "results" / "returns.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_scripts_do_what_a_study_asks_of_them(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    assert main(["study=tiny.yaml", "jobs=2"]) == 0, capfd.readouterr().out
    folder = tmp_path / "studies" / "tiny"
    tables = [*RUNS, "returns", "scorecard", "scorecard_runs"]
    assert sorted(path.stem for path in (folder / "results").glob("*.csv")) == sorted(tables)
    assert (folder / "snapshots/states/walker/diayn_dreamer/1/snapshot_1040.pt").is_file()
    for name in (RUNS[2], RUNS[3]):
        with (folder / "runs" / name / "eval.csv").open() as file:
            logged = [(row["frame"], row["episode_reward"]) for row in csv.DictReader(file)]
        assert [(r["frame"], r["return"]) for r in returns(folder) if r["run"] == name] == logged
        assert [frame for frame, _ in logged] == ["0", "1000", "2000"]
    facts = json.loads((folder / "results" / f"{RUNS[3]}.json").read_text())
    assert facts["hardware"]["cpu"] and facts["seconds"] > 0 and facts["commit"]
    assert set(shlex.split(facts["command"])) >= {"agent=diayn_dreamer", "seed=2", "preset=debug", "OMP_NUM_THREADS=1"}
    report = (folder / "results" / "report.md").read_text()
    assert all(name in report for name in RUNS)
    assert "diayn_dreamer, 1.04k frames before" in report
    assert "## Scorecard" in report and "![aggregates](scorecard_scores.png)" in report
    assert (folder / "results" / "scorecard_scores.png").is_file()


def test_an_override_that_cannot_be_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    for word, said in (
        ("pretrain.overrides=['batch_sise=3']", ["pretrain-walker-diayn_dreamer-p1", "batch_size"]),
        ("finetune.overrides=['evaluate=false']", ["walker_walk-dreamer-scratch-s2", "evaluate=false"]),
        ("agents=[diayn_dreemer]", ["diayn_dreemer"]),
        ("preset=smal", ["preset=smal", "small"]),
    ):
        assert main(["study=tiny.yaml", "skills=null", word]) == 1
        error = capsys.readouterr().err
        assert all(part in error for part in said), error
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


OFFLINE = """
agents: [choreo]
tasks: [walker_walk]
baselines: [dreamer]
configs: dmc_states
preset: debug
overrides: [device=cpu]
pretrain: {seeds: [1], updates: 4, collection_method: noise, overrides: [dataset_dir=data]}
finetune: {frames: 1060, snapshots: [3], overrides: [save_video=false, use_tb=false, num_eval_episodes=1]}
expected:
  - {agent: choreo, source: nobody, returns: {walker_walk: [2000, 5]}}
"""


@pytest.mark.long
def test_a_study_that_learns_from_data(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    exorl_noise(tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(OFFLINE)
    assert main(["study=tiny.yaml", "jobs=auto"]) == 0, capfd.readouterr().out
    assert "side by side" in capfd.readouterr().out
    folder = tmp_path / "studies" / "tiny"
    assert (folder / "snapshots/exorl/noise/walker/choreo/1/snapshot_3.pt").is_file()
    assert {row["run"] for row in returns(folder)} == {"walker_walk-dreamer-scratch-s1", "walker_walk-choreo-p1-3-s1"}
    report = (folder / "results" / "report.md").read_text()
    assert "choreo, 3 updates before" in report
    [row] = [line for line in report.splitlines() if "2000 ± 5" in line]
    assert "below" in row
    assert main(["study=tiny.yaml", "dry_run=true", "name=other"]) == 0
    assert "nothing is timed" in capfd.readouterr().out


@pytest.mark.long
def test_an_estimate_of_hours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    assert main(["study=tiny.yaml", "dry_run=true"]) == 0
    out = capsys.readouterr().out
    assert "estimate:" in out and "evaluations" in out
    stored = json.loads((tmp_path / "studies/tiny/study.json").read_text())
    assert set(stored["estimates"]) == set(RUNS) and all(value > 0 for value in stored["estimates"].values())


@pytest.mark.long
@pytest.mark.parametrize("run", [RUNS[0], RUNS[3]])
def test_killed_in_the_middle_and_continued(tmp_path, monkeypatch, capfd, run):
    """The study by SIGKILL; its run saves and ends by itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("overrides: [evaluate=false]", "overrides: []"))
    command = [sys.executable, str(ROOT / "study.py"), "study=tiny.yaml"]
    logs = tmp_path / "studies/tiny/runs" / run / "eval.csv"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 200
        while not logs.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        runs = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        os.kill(process.pid, signal.SIGKILL)
    assert gone(runs, 60)
    assert (logs.parent / "checkpoint.pt").exists()
    assert main(["study=tiny.yaml"]) == 0
    assert f"resume=studies/tiny/runs/{run}" in (tmp_path / f"studies/tiny/logs/{run}.log").read_text()
    assert main(["study=tiny.yaml", "name=whole"]) == 0
    assert returns(tmp_path / "studies/tiny") == returns(tmp_path / "studies/whole")
    capfd.readouterr()
