"""doctor.py: on this machine, and with faults planted; the same rows whatever is wrong, and never a traceback."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from doctoring import examination, machine, packages
from doctoring.child import Done
from doctoring.request import read
from doctoring.row import Status, ok
from preflight import room

ROOT = Path(__file__).resolve().parent.parent
DEBUG = ("preset=debug", "num_train_frames=2010")
ROWS = [
    *("python", "packages", "combinations", "torch", "dm_control", "rendering", "configuration", "device"),
    *("torch.compile", "snapshot", "data set", "disk", "memory", "open files", "write access", "wandb"),
]


def doctor(folder: Path, *arguments: str, **variables: str) -> tuple[int, dict[str, str], str]:
    """Exit status, first line of each row without its name, and all output of a real run."""
    left_out = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "SOMNIA_GL_OK", "WANDB_MODE")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    done = subprocess.run(
        [sys.executable, str(ROOT / "doctor.py"), *arguments],
        env={**environment, "COLUMNS": "1000", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.stderr == ""
    lines = [
        re.fullmatch(rf"({'|'.join(map(re.escape, ROWS))}) +((?:OK|WARN|FAIL) .*)", line)
        for line in done.stdout.splitlines()
    ]
    rows = {found[1]: found[2] for found in lines if found}
    assert list(rows) == ROWS, done.stdout
    assert list(folder.iterdir()) == [], "a check left something behind"
    return done.returncode, rows, done.stdout


def test_without_the_library_it_reads_versions_with(tmp_path):
    (tmp_path / "packaging.py").write_text("raise ModuleNotFoundError(name='packaging')")
    code = f"import runpy; runpy.run_path({str(ROOT / 'doctor.py')!r}, run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert "packaging" in done.stderr and "make setup" in done.stderr


def test_this_machine(tmp_path):
    status, rows, out = doctor(tmp_path, *DEBUG)
    assert status == 0, out
    device = rows.pop("device")
    rows.pop("torch.compile")  # a compiler is no must
    assert device.startswith("OK" if torch.cuda.is_available() else "WARN")
    assert {name: row.split()[0] for name, row in rows.items()} == dict.fromkeys(rows, "OK"), out
    assert re.search(r"MUJOCO_GL=\w+: [\d.]+ ms", rows["rendering"])
    assert "dreamer_pretrain.py" in rows["configuration"]
    assert re.search(r"^16 checks in [\d.]+ s: ", out, re.MULTILINE)


def test_an_unknown_backend(tmp_path):
    status, rows, _ = doctor(tmp_path, *DEBUG, "device=cpu", MUJOCO_GL="foo")
    assert status == 1
    assert rows["rendering"].startswith("FAIL") and "unset MUJOCO_GL" in rows["rendering"]
    failed = [name for name, row in rows.items() if row.startswith("FAIL")]
    assert failed == ["rendering"]


def test_without_torch_and_hydra(tmp_path):
    """The other rows are still there, and rendering that was switched off is one of the faults."""
    broken, folder = tmp_path / "broken", tmp_path / "empty"
    folder.mkdir()
    for name in ("torch", "hydra", "omegaconf", "numpy"):
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text(f"raise ImportError('{name} is broken')\n")
    status, rows, _ = doctor(folder, *DEBUG, PYTHONPATH=str(broken), MUJOCO_GL="disabled")
    assert status == 1
    assert "torch is broken" in rows["torch"] and "numpy is broken" in rows["dm_control"]
    assert {name for name, row in rows.items() if row.startswith("FAIL")} == {
        *("torch", "dm_control", "rendering", "configuration")
    }
    assert "MUJOCO_GL=disabled" in rows["rendering"]


@pytest.fixture
def examine(monkeypatch, tmp_path, capsys):
    """``examine(...)`` -> exit status and rows, on a healthy machine without a GPU, in an empty folder."""
    monkeypatch.setattr(machine, "probe_torch", lambda: Done(json.dumps(["2.13.0", []]), ""))
    monkeypatch.setattr(machine, "import_dm_control", lambda: ok("works"))
    monkeypatch.setattr(machine, "rendering", lambda: ok("works"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    original = examination.table
    seen = {}
    monkeypatch.setattr(examination, "table", lambda rows: seen.update(rows) or original(rows, 200))

    def run(*arguments):
        seen.clear()
        status = examination.main(arguments)
        printed = capsys.readouterr().out
        assert list(seen) == ROWS
        assert re.findall(r"^([a-z._ ]+?) +(?:OK|WARN|FAIL) ", printed, re.MULTILINE) == ROWS
        assert all(bool(row.fix) == (row.status is not Status.OK) for row in seen.values())
        assert list(tmp_path.iterdir()) == []
        return status, dict(seen)

    return run


def failures(rows) -> list[str]:
    return [name for name, row in rows.items() if row.status is Status.FAIL]


def test_no_gpu_is_a_warning(examine):
    status, rows = examine(*DEBUG)
    assert status == 0 and failures(rows) == []
    assert rows["device"].status is Status.WARN and "preset=small" in rows["device"].fix
    assert examine(*DEBUG, "device=cpu")[1]["device"].status is Status.OK


def test_device_cuda_without_a_gpu(examine):
    status, rows = examine(*DEBUG, "device=cuda")
    assert status == 1 and failures(rows) == ["device"]


def test_no_wandb_login_is_a_warning(examine, monkeypatch):
    status, rows = examine(*DEBUG, "use_wandb=true")
    assert status == 0 and rows["wandb"].status is Status.WARN
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert examine(*DEBUG, "use_wandb=true")[1]["wandb"].status is Status.OK


def test_an_unknown_key_fails_and_what_depends_on_it_is_not_checked(examine, monkeypatch):
    reads = []
    monkeypatch.setattr(examination, "read", lambda words: reads.append(words) or read(words))
    status, rows = examine("num_train_frame=10", "use_wandb=True", "device=cuda")
    assert status == 1 and failures(rows) == ["configuration", "device"]
    assert "Did you mean num_train_frames?" in rows["configuration"].fix
    for name in ("snapshot", "data set", "disk", "memory", "open files", "write access"):
        assert rows[name] == examination.UNKNOWN
    assert rows["wandb"].status is Status.WARN, "what the command line says by itself is still looked at"
    assert len(reads) == 1


def test_a_missing_snapshot_and_the_script(examine):
    status, rows = examine(*DEBUG, "task=walker_run", "snapshot_ts=7000")
    assert status == 1 and failures(rows) == ["snapshot"]
    assert "dreamer_finetune.py" in rows["configuration"].found
    status, rows = examine(*DEBUG, "task=walker_run", "snapshot_ts=0")
    assert status == 0


@pytest.mark.parametrize("script", [["drq_train.py"], []])
def test_drq(examine, script):
    status, rows = examine(*script, "task=dmc_walker_run", "num_skills=10", "preset=debug", "num_train_steps=300")
    assert status == 0 and failures(rows) == []
    assert rows["configuration"].found == "drq_train.py: agent=drq_diayn on walker_run"
    assert "preset=small" in rows["device"].fix


def test_drqs_messages_name_its_own_keys(examine, monkeypatch):
    """A disk that cannot take the replay, one that cannot take the models, and little memory."""
    drq = ("drq_train.py", "preset=debug", "device=cpu", "num_train_steps=50000")
    free = {"bytes": 10**6}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free["bytes"]))
    monkeypatch.setattr(room, "available_memory", lambda: 10**6)
    _, rows = examine(*drq)
    assert failures(rows) == ["disk"]
    assert rows["disk"].found.startswith("replay_buffer_capacity=5000 needs")
    assert "preset=small" in rows["memory"].fix
    free["bytes"] = 2 * 10**7
    _, rows = examine(*drq)
    assert rows["disk"].found.startswith("replay_buffer_capacity=5000: ")
    assert "202 snapshots" in rows["disk"].found and "replay_buffer_capacity" in rows["disk"].fix


def test_a_disk_and_a_limit_that_are_too_small(examine, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    status, rows = examine(*DEBUG)
    assert status == 1 and failures(rows) == ["disk", "open files"]
    assert rows["disk"].found.startswith("replay.capacity=20000 needs")


def test_a_check_that_breaks_is_a_row_of_its_own(examine, monkeypatch):
    def breaks():
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(packages, "packages", breaks)
    status, rows = examine(*DEBUG)
    assert status == 1 and failures(rows) == ["packages"]
    assert rows["packages"].found == "RuntimeError: out of cheese"


def test_a_background_check_that_breaks_is_a_row_of_its_own(examine, monkeypatch):
    def breaks():
        raise OSError("no more processes")

    monkeypatch.setattr(machine, "rendering", breaks)
    monkeypatch.setattr(machine, "probe_torch", breaks)
    status, rows = examine(*DEBUG)
    assert status == 1 and "no more processes" in rows["rendering"].found
    assert {"torch", "rendering", "configuration"} <= set(failures(rows))


def test_a_python_that_is_too_old_is_told_so(tmp_path):
    """The file itself must not use syntax that an old Python cannot read before it says so."""
    text = (ROOT / "doctor.py").read_text(encoding="utf-8")
    head = text.replace("sys.version_info < (3, 10)", "True")
    assert head != text
    done = subprocess.run([sys.executable, "-c", head], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: Python") and "Traceback" not in done.stderr
