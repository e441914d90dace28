"""The entry scripts as a user meets them: one message, no traceback, a non-zero exit, nothing half-written."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import fork_kit
import pytest
import torch
from contents_kit import CONFIG, SPEC, write_snapshot

from training import checkpoint

ROOT = Path(__file__).resolve().parent.parent
DEBUG = ("preset=debug", "device=cpu")


def run(folder: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return fork_kit.run(ROOT / script, *overrides, cwd=folder)


def run_by_itself(folder: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    """In a process that has imported nothing."""
    command = [sys.executable, str(ROOT / script), *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "script, overrides, expected",
    [
        ("dreamer_pretrain.py", ["agent=dreemer"], ["agent=dreemer", "Did you mean agent=dreamer?"]),
        ("dreamer_pretrain.py", ["num_train_frame=10"], ["num_train_frame", "Did you mean num_train_frames?"]),
        ("dreamer_pretrain.py", ["domain=hoper"], ["domain=hoper", "Did you mean domain=hopper?"]),
        ("dreamer_pretrain.py", ["task=quadruped_run"], ["task=quadruped_run", "domain=walker"]),
        ("dreamer_finetune.py", ["task=walker_fly"], ["task=walker_fly", "Allowed"]),
        ("dreamer_finetune.py", ["snapshot_ts=7000"], ["snapshot_ts=7000", "does not exist", "snapshot_ts=0"]),
        ("dreamer_pretrain.py", ["batch_size=0"], ["batch_size=0", "whole number from 1"]),
        ("dreamer_pretrain.py", ["replay.capacity=900000000000"], ["replay.capacity=900000000000"]),
        ("dreamer_pretrain.py", ["hydra.run.dir=/dev/null/run"], ["hydra.run.dir", "/dev/null"]),
        ("dreamer_pretrain.py", ["snapshot_base_dir=/dev/null/x"], ["snapshot_dir=/dev/null/x", "not a folder"]),
        ("dreamer_pretrain.py", ["resume=nowhere"], ["resume=nowhere", "config.yaml"]),
        ("dreamer_pretrain.py", ["seed=[1"], ["seed=[1"]),
        ("dreamer_finetune.py", ["actor=3"], ["actor=3", "a section with the keys layers, units"]),
        ("dreamer_finetune.py", ["discount=high"], ["discount=high", "a number from 0 to 1"]),
        ("drq_train.py", ["task=cartpole_swing"], ["task=cartpole_swing", "cartpole_swingup"]),
        ("drq_train.py", ["frame_stack=3"], ["frame_stack", "Did you mean framestack?"]),
        ("drq_train.py", ["num_skills=1"], ["num_skills=1", "0 for none, or a whole number from 2"]),
        ("drq_train.py", ["snapshot=nowhere.pt", "num_train_steps=10"], ["nowhere.pt: there is no such file"]),
        # found only when values are resolved, after Hydra has made the run folder
        ("dreamer_pretrain.py", ["seed=${nothing}"], ["seed", "'nothing' not found"]),
        pytest.param(
            "dreamer_pretrain.py",
            ["device=cuda"],
            ["device=cuda", "device=cpu"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_bad_input_is_one_message(tmp_path, script, overrides, expected):
    # long enough that the whole capacity would be used
    length = "num_train_steps" if script == "drq_train.py" else "num_train_frames"
    done = run(tmp_path, script, f"{length}=4000000000000", *overrides)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "Error executing" not in done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    for part in expected:
        assert part in done.stderr, done.stderr
    assert files(tmp_path) == []


def test_a_damaged_snapshot_and_one_of_another_body(tmp_path):
    folder = tmp_path / "pretrained_models" / "pixels" / "walker" / "dreamer" / "1"
    folder.mkdir(parents=True)
    (folder / "snapshot_100.pt").write_bytes(b"PK\x03\x04 broken")
    write_snapshot(folder / "snapshot_200.pt", spec=SPEC | {"action": [[12], "<f4"]})
    before = files(tmp_path)
    for frames, expected in ((100, "not a readable snapshot"), (200, "snapshot_200.pt does not fit")):
        done = run(tmp_path, "dreamer_finetune.py", *DEBUG, f"snapshot_ts={frames}")
        assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr
        assert expected in done.stderr
        assert files(tmp_path) == before


def test_a_sweep_goes_on_after_a_job_that_is_refused(tmp_path):
    (tmp_path / "jobs/0").mkdir(parents=True)
    (tmp_path / "jobs/0/notes").write_text("mine")  # a job that no look at its settings finds to be bad
    done = run(
        tmp_path,
        "dreamer_pretrain.py",
        "--multirun",
        *DEBUG,
        "domain=hopper,walker",
        "hydra.sweep.dir=jobs",
        "evaluate=false",
        "num_train_frames=510",
        "snapshots=[500]",
    )
    assert done.returncode == 1
    assert "job 0" in done.stderr and "notes" in done.stderr
    # both jobs share the launch folder's pretrained_models
    assert (tmp_path / "pretrained_models/pixels/walker/dreamer/1/snapshot_500.pt").is_file()


def test_drq_trains_and_goes_on(tmp_path):
    few = ("preset=debug", "device=cpu", "env=dmc_cup_catch", "num_skills=2", "save_video=false")
    done = run_by_itself(tmp_path, "drq_train.py", *few, "num_train_steps=3", "num_seed_steps=1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "finished: 3 steps (24 frames)" in done.stdout
    (folder,) = (tmp_path / "runs" / "cup_catch").iterdir()
    assert folder.name.endswith("_seed1")
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["final_model.pt", "model_0.pt"]
    assert len((folder / "episodes.csv").read_text().splitlines()) == 3
    other = run(tmp_path, "dreamer_pretrain.py", f"resume={folder}")
    assert other.returncode == 1 and "a run of drq_train.py" in other.stderr
    refused = run(tmp_path, "drq_train.py", f"resume={folder}", "batch_size=7")
    assert refused.returncode == 1 and "batch_size=8" in refused.stderr and "num_train_steps" in refused.stderr
    # a run of the time when DrQ's presets had another name, and a command line of that time
    stored = folder / "config.yaml"
    text = stored.read_text()
    assert text.count("\n  preset: debug\n") == 1
    stored.write_text(text.replace("\n  preset: debug\n", "\n  drq_preset: debug\n"))
    other = run(tmp_path, "drq_train.py", f"resume={folder}", "preset=small")
    assert other.returncode == 1 and "preset=debug" in other.stderr
    longer = run(tmp_path, "drq_train.py", f"resume={folder}", "num_train_steps=5", "drq_preset=debug")
    assert longer.returncode == 0, longer.stderr
    assert len(longer.stderr.splitlines()) == 1 and "preset=debug" in longer.stderr.split("drq_preset=debug")[1]
    assert "continuing at frame 24 of 40" in longer.stdout
    assert checkpoint.load(folder / "models" / "final_model.pt", "snapshot")["step"] == 5


def test_ctrl_c_ends_cleanly_and_the_run_resumes(tmp_path):
    folder = tmp_path / "run"
    arguments = [*DEBUG, "evaluate=false", "num_train_frames=1000000", f"hydra.run.dir={folder}"]
    process = fork_kit.Program(ROOT / "dreamer_pretrain.py", *arguments, cwd=tmp_path)
    deadline = time.time() + 120
    while not (folder / "replay").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"resume={folder}" in errors
    step = checkpoint.load(folder / "checkpoint.pt", "checkpoint")["counters"]["step"]
    assert step > 0
    frames = 2 * step + 20
    done = run(tmp_path, "dreamer_pretrain.py", f"resume={folder}", f"num_train_frames={frames}")
    assert done.returncode == 0, done.stderr
    assert f"continuing at frame {2 * step}" in done.stdout
    other = run(tmp_path, "dreamer_finetune.py", f"resume={folder}")
    assert other.returncode == 1 and "is a run of dreamer_pretrain.py" in other.stderr
    refused = run(tmp_path, "dreamer_pretrain.py", f"resume={folder}", "batch_size=7")
    assert refused.returncode == 1 and "batch_size=4" in refused.stderr
    same = [*DEBUG, "batch_size=4", "task=none", "domain=walker", "snapshot_base_dir=pretrained_models"]
    again = run(tmp_path, "dreamer_pretrain.py", f"resume={folder}", f"num_train_frames={frames}", *same)
    assert again.returncode == 0 and "is finished" in again.stdout


def test_no_working_gl(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SOMNIA_GL_OK", raising=False)
    done = run_by_itself(tmp_path, "dreamer_pretrain.py", *DEBUG, "num_train_frames=10")
    assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr
    assert "MUJOCO_GL" in done.stderr and "libegl1" in done.stderr
    assert files(tmp_path) == []


def test_a_tool_whose_reader_has_seen_enough_ends_quietly(tmp_path):
    path = tmp_path / "a.pt"
    write_snapshot(path, config=CONFIG | {f"key_{i}": i for i in range(20_000)})
    shown = f"{sys.executable} -m analysis.describe {path}"
    done = subprocess.run(
        f"set -o pipefail; {shown} | head -n 1",
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("kind         snapshot")
