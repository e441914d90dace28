"""study.py with runs of milliseconds: order, states, what is skipped, resumed, left out; kills and signals."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_kit import gone
from study_kit import RUNS, faked

from studying.command import main
from utils.process import STOPPED

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def study(tmp_path, monkeypatch):
    """``study(*words)``: the exit status of a study in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAKE_ORDERS", str(tmp_path))
    file = faked(tmp_path, monkeypatch.setattr)
    return lambda *words: main([f"study={file}", *words])


def returns(folder: Path) -> list[dict[str, str]]:
    with (folder / "results" / "returns.csv").open() as file:
        return list(csv.DictReader(file))


def calls(folder: Path) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in (folder / "calls").read_text().splitlines()]


def test_all_runs_are_made_once_in_an_order_that_works(study, tmp_path, capsys):
    assert study("jobs=4") == 0
    out = capsys.readouterr().out
    made = calls(tmp_path)
    assert len(made) == RUNS - 4 and {resumed for _, resumed in made} == {"False"}
    assert f"{RUNS} of {RUNS} done" in out
    table = returns(tmp_path / "studies" / "mine")
    assert len(table) == 3 * (RUNS - 8)  # neither pre-trainings nor skills have returns of the kind
    row = next(r for r in table if r["run"] == "walker_walk-choreo-p1-40-s1-fresh" and r["frame"] == "20")
    expected = {"agent": "choreo", "task": "walker_walk", "pretrain_seed": "1", "seed": "1", "pretrain_frames": "40"}
    assert expected.items() <= row.items() and row["variant"] == "fresh"
    assert {r["variant"] for r in table if r["pretrain_frames"] == "20"} == {""}
    report = (tmp_path / "studies/mine/results/report.md").read_text()
    assert "above from frame 10 on" in report and "Commit" in report
    assert "| walker_walk-choreo-p1-40-s1 | skill 2 | 20 | 2 of 4 | skill 3 | 30 | 15 |" in report
    assert {path.name for path in (tmp_path / "studies/mine/results").glob("curves.*")} == {"curves.png", "curves.svg"}
    (tmp_path / "calls").unlink()
    assert study() == 0 and not (tmp_path / "calls").exists()


def test_one_that_fails_is_named_and_what_needs_it_left_out(study, tmp_path, capsys):
    bad, lone = tmp_path / "fail_pretrain-walker-choreo-p1", tmp_path / "fail_walker_run-dreamer-scratch-s2"
    bad.touch()
    lone.touch()
    assert study("jobs=3") == 1
    out, error = capsys.readouterr()
    blocked = 2 + 4 + 1
    assert f"{RUNS - 2 - blocked} of {RUNS} done, 2 failed, {blocked} blocked" in out
    for name in ("pretrain-walker-choreo-p1", "walker_run-dreamer-scratch-s2"):
        assert f"{name}: exit status 1: error: agent=fake has failed" in error
        assert "agent=fake has failed" in (tmp_path / f"studies/mine/logs/{name}.log").read_text()
    bad.unlink()
    lone.unlink()
    (tmp_path / "calls").unlink()
    assert study("jobs=3") == 0
    again = dict(calls(tmp_path))
    assert again["pretrain-walker-choreo-p1"] == "True"  # it goes on with its folder
    assert len(again) == 2 + blocked - 2


def test_records_alone_count_as_done(study, tmp_path, capsys):
    assert study("jobs=4") == 0
    before = returns(tmp_path / "studies/mine")
    shutil.copytree(tmp_path / "studies/mine/results", tmp_path / "kept")
    shutil.rmtree(tmp_path / "studies")
    (tmp_path / "calls").unlink()
    (tmp_path / "kept" / "walker_run-choreo-p2-40-s2.json").unlink()
    assert study("results_dir=kept") == 0
    made = [name for name, _ in calls(tmp_path)]
    assert made == ["pretrain-walker-choreo-p2", "walker_run-choreo-p2-40-s2"]  # the snapshot was gone, too
    assert sorted(map(str, before)) == sorted(map(str, csv.DictReader((tmp_path / "kept/returns.csv").open())))
    for path in (tmp_path / "kept").glob("pretrain-*"):
        path.unlink()
    (tmp_path / "calls").unlink()
    capsys.readouterr()
    assert study("results_dir=kept") == 0
    assert not (tmp_path / "calls").exists() and "4 not needed" in capsys.readouterr().out
    assert study("results_dir=kept", "report=true") == 0


def test_in_pieces(study, tmp_path):
    assert study("only=choreo", "jobs=4") == 0
    assert {name for name, _ in calls(tmp_path) if "choreo" not in name} == set()
    assert len(calls(tmp_path)) == 2 + 8 + 1
    (tmp_path / "calls").unlink()
    assert study("only=[walker_run,dreamer]") == 0
    assert [name for name, _ in calls(tmp_path)] == ["walker_run-dreamer-scratch-s1", "walker_run-dreamer-scratch-s2"]
    (tmp_path / "calls").unlink()
    assert study("only=walker_run", "jobs=2") == 0
    assert {name for name, _ in calls(tmp_path)} == {
        *(f"pretrain-walker-lbs_dreamer-p{p}" for p in (1, 2)),
        *(f"walker_run-lbs_dreamer-p{p}-{frames}-s{s}" for p in (1, 2) for frames in (20, 40) for s in (1, 2)),
    }


def test_more_seeds_are_new_runs_and_other_settings_are_refused(study, tmp_path, capsys):
    assert study("only=dreamer", "jobs=2") == 0
    capsys.readouterr()
    for word, change in (
        ("preset=debug", "it was preset=small, and is preset=debug"),
        ("finetune.frames=30", "it was num_train_frames=20, and is num_train_frames=30"),
        ("overrides=['use_tb=false']", "is use_tb=false"),
    ):
        assert study("only=dreamer", word) == 1
        error = capsys.readouterr().err
        assert change in error and "name=mine_2" in error and error.count("\n") == 1
    (tmp_path / "calls").unlink()
    assert study("only=dreamer", "finetune.seeds=[1,2,7]") == 0
    out = capsys.readouterr().out
    assert "new in this study: walker_walk-dreamer-scratch-s7" in out
    assert {name[-2:] for name, _ in calls(tmp_path)} == {"s7"}
    assert study("only=dreamer", "name=mine_2", "preset=debug") == 0


def test_a_dry_run_starts_nothing_and_prints_every_command(study, tmp_path, capsys):
    assert study("dry_run=true", "measure=false", "threads=2") == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if "fake.py" in line]
    assert len(commands) == RUNS and all(line.startswith("OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 ") for line in commands)
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["study=walker_state_small"], ["walker_states_small"]),
        (["study=none.yaml"], ["none.yaml"]),
        ([], ["study="]),
        (["{file}", "agent=[dreamer]"], ["agent", "agents"]),
        (["{file}", "finetune.frame=3"], ["finetune.frame", "finetune.frames"]),
        (["{file}", "jobs=0"], ["jobs=0"]),
        (["{file}", "tasks=[walker_rum]"], ["walker_rum"]),
        (["{file}", "pretrain.seeds=[1,1]"], ["pretrain.seeds", "each once"]),
        (["{file}", "finetune.snapshots=[50]"], ["50", "pretrain.frames=50"]),
        (["{file}", "only=walker_stand"], ["only=walker_stand"]),
        (["{file}", "variants.fresh.agents=[choreos]"], ["variants.fresh.agents=choreos", "choreo"]),
        (["{file}", "variants.fresh.frames=3"], ["variants.fresh", "frames"]),
        (["{file}", "jobs=1,2"], ["jobs=1,2"]),
        (["{file}", "jobs=[1"], ["jobs=[1"]),
        (["{file}", "results_dir=fake.py/none"], ["results_dir"]),
    ],
)
def test_refusals_are_one_line(study, tmp_path, capsys, words, said):
    before = sorted(tmp_path.iterdir())
    assert main([word.format(file=f"study={tmp_path / 'mine.yaml'}") for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(part in error for part in said), error
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "studies"] == before


def test_a_damaged_record_is_refused(study, tmp_path, capsys):
    assert study("only=dreamer") == 0
    path = tmp_path / "studies/mine/results/walker_run-dreamer-scratch-s1.json"
    path.write_text(path.read_text()[:50])
    capsys.readouterr()
    assert study() == 1
    assert str(path.name) in capsys.readouterr().err


# ---- kills and signals


@pytest.fixture
def started(tmp_path):
    """``started(*words)``: a study in a process of its own, in ``tmp_path``."""
    faked(tmp_path, lambda *ignored: None)
    made = []

    def start(*words):
        kit = str(ROOT / "tests" / "studying" / "study_kit.py")
        variables = {**os.environ, "FAKE_ORDERS": str(tmp_path), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, kit, str(tmp_path), f"study={tmp_path / 'mine.yaml'}", *words],
            cwd=tmp_path,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


WAITING = ("pretrain-walker-choreo-p1", "pretrain-walker-lbs_dreamer-p2")


def brought_to_a_halt(tmp_path, process):
    """The study when two of its runs wait half-way and others are done."""
    until(lambda: all((tmp_path / f"at_work_{name}").exists() for name in WAITING))
    return children_of(process.pid)


def test_a_killed_study_ends_as_one_that_was_not(study, started, tmp_path, capsys):
    for name in WAITING:
        (tmp_path / f"wait_{name}").touch()
    process = started("jobs=2")
    runs = brought_to_a_halt(tmp_path, process)
    assert len(runs) == 2
    process.kill()
    assert gone(runs)  # they were asked to save, and have
    assert all((tmp_path / f"saved_{name}").exists() for name in WAITING)
    for name in WAITING:
        (tmp_path / f"wait_{name}").unlink()
    assert study("jobs=2") == 0
    assert [name for name, resumed in calls(tmp_path) if resumed == "True"] == list(WAITING)
    killed = capsys.readouterr().out
    assert study("jobs=2", "name=other") == 0
    whole = capsys.readouterr().out
    one, other = tmp_path / "studies/mine", tmp_path / "studies/other"
    assert returns(one) == returns(other)
    assert table_of(killed) == table_of(whole)


def table_of(out):
    """Of what a study says at its end: states, names, returns, without times."""
    lines = out[out.rindex("\ndone       pretrain") :].splitlines()
    return [(line.split()[:2], line.partition("return")[2]) for line in lines if line.startswith("done ")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_runs_save_and_says_how_to_go_on(study, started, tmp_path, number):
    for name in WAITING:
        (tmp_path / f"wait_{name}").touch()
    process = started("jobs=2")
    runs = brought_to_a_halt(tmp_path, process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == STOPPED and gone(runs)
    assert all((tmp_path / f"saved_{name}").exists() for name in WAITING)
    assert f"study={tmp_path / 'mine.yaml'} jobs=2" in out.splitlines()[-1] and "Traceback" not in out
    stored = json.loads((tmp_path / "studies/mine/study.json").read_text())
    assert set(stored["begun"]) >= set(WAITING)


def test_a_second_signal_stops_at_once(started, tmp_path):
    (tmp_path / "wait_pretrain-walker-lbs_dreamer-p1").touch()
    script = tmp_path / "fake.py"
    script.write_text(script.read_text().replace("and not stopped", ""))  # it does not listen
    process = started()
    until(lambda: (tmp_path / "at_work_pretrain-walker-lbs_dreamer-p1").exists())
    runs = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == STOPPED and gone(runs)


def test_two_studies_in_one_folder_are_refused_and_a_busy_run_is_waited_for(study, started, tmp_path, capsys):
    (tmp_path / "wait_pretrain-walker-lbs_dreamer-p1").touch()
    process = started()
    until(lambda: (tmp_path / "at_work_pretrain-walker-lbs_dreamer-p1").exists())
    assert study() == 1
    error = capsys.readouterr().err
    assert "in use" in error and "name=mine_2" in error
    process.kill()
    assert gone([process.pid]) or process.wait() is not None
    # another process has the run folder for a while
    folder = tmp_path / "studies/mine/runs/pretrain-walker-lbs_dreamer-p1"
    (tmp_path / "wait_pretrain-walker-lbs_dreamer-p1").unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder / ".lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert study("only=[lbs_dreamer,walker_walk]") == 0
    holder.communicate()
    out = capsys.readouterr().out
    assert "in use" in out and out.index("in use") < out.index("running")


HOLDS = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(2)
"""
