"""Imports, GL drivers, GPUs and compilers that are missing or broken."""

import json
import os

import pytest

from doctoring import machine
from doctoring.child import Done, run_python
from doctoring.row import Status
from envs import gl


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("raise ImportError('no such library')", "ImportError: no such library"),
        ("import os; os.abort()", "the process ended with code -6"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
        ("raise SystemExit(3)", "the process ended with code 3"),
    ],
)
def test_a_child_that_fails_crashes_or_hangs(code, failure):
    assert run_python(code, timeout=2 if "sleep" in code else 120).failure == failure


def test_a_child_that_works():
    assert run_python("print(7)") == Done("7\n", "")


def test_imports_that_fail(monkeypatch):
    row = machine.import_torch(Done("", "OSError: libtorch.so: cannot open"))
    assert row.status is Status.FAIL and "libtorch.so" in row.found and row.fix
    assert machine.gpus(Done("", "OSError: libtorch.so: cannot open")) == []
    monkeypatch.setattr(machine, "run_python", lambda code: Done("", "AttributeError: flex_vertedge"))
    row = machine.import_dm_control()
    assert row.status is Status.FAIL and "flex_vertedge" in row.found and "make setup" in row.fix


def test_what_the_torch_child_prints_is_read():
    done = Done("a warning\n" + json.dumps(["2.13.0", [["H100", 80_000_000_000]]]) + "\n", "")
    assert machine.import_torch(done).found == "torch 2.13.0"
    assert machine.gpus(done) == [("H100", 80_000_000_000)]


@pytest.fixture
def drivers(monkeypatch):
    """``drivers(egl="", osmesa="no library")``: how each backend fails; gives the list of those that were tried."""

    def plant(**failures):
        tried = []

        def probe(backend):
            tried.append(backend)
            failure = failures.get(backend, f"RuntimeError: invalid value for MUJOCO_GL: {backend}")
            return gl.Probe(0.0 if failure else 0.0123, failure)

        monkeypatch.setattr(gl, "probe", probe)
        monkeypatch.setattr(gl, "CANDIDATES", ("egl", "osmesa"))
        return tried

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return plant


def test_the_first_backend_that_draws_is_named_with_its_time(drivers):
    tried = drivers(egl="crash", osmesa="")
    row = machine.rendering()
    assert row.status is Status.OK and row.found.startswith("MUJOCO_GL=osmesa: 12.3 ms") and tried == ["egl", "osmesa"]


def test_no_driver_at_all(drivers):
    drivers(egl="no libEGL", osmesa="no frame within 60 s")
    row = machine.rendering()
    assert row.status is Status.FAIL and "libegl1" in row.fix
    assert "egl: no libEGL" in row.found and "osmesa: no frame within 60 s" in row.found


@pytest.mark.parametrize("value", ["foo", "glx", "GLFW"])
def test_a_backend_that_does_not_draw_is_named_and_no_other_is_tried(drivers, monkeypatch, value):
    tried = drivers(egl="", osmesa="")
    monkeypatch.setenv("MUJOCO_GL", value)
    row = machine.rendering()
    assert row.status is Status.FAIL and f"MUJOCO_GL={value.lower()}: " in row.found and tried == [value.lower()]
    assert "unset MUJOCO_GL" in row.fix and "egl, osmesa" in row.fix


@pytest.mark.parametrize("value", ["disabled", "off"])
def test_rendering_switched_off(drivers, monkeypatch, value):
    tried = drivers(egl="")
    monkeypatch.setenv("MUJOCO_GL", value)
    row = machine.rendering()
    assert row.status is Status.FAIL and f"MUJOCO_GL={value}" in row.found and row.fix and tried == []


@pytest.mark.parametrize(
    ("asked", "gpus", "status", "part"),
    [
        ("auto", [], Status.WARN, "CPU"),
        ("cpu", [], Status.OK, "cpu"),
        ("cuda", [], Status.FAIL, "no CUDA device"),
        ("cuda:1", [("A", 8e9)], Status.FAIL, "1 CUDA devices"),
        ("auto", [("A", 8e9)], Status.OK, "A, 8 GB"),
        ("cuda:1", [("A", 8e9), ("B", 24e9)], Status.OK, "B, 24 GB"),
    ],
)
def test_devices(asked, gpus, status, part):
    row = machine.device(asked, gpus)
    assert row.status is status and part in row.found and f"device={asked}" in row.found
    assert bool(row.fix) == (status is not Status.OK)


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """``compiler("exit 1")``: the body of the only C++ compiler."""

    def plant(body):
        path = tmp_path / "mycc"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))

    return plant


def test_a_compiler_that_works(compiler):
    compiler("grep -q Python.h && exit 0; exit 1")
    row = machine.compiler(on_gpu=False)
    assert row.status is Status.OK and row.found == "mycc compiles"


def test_a_compiler_without_pythons_header(compiler):
    compiler("echo 'x.cpp:1: fatal error: Python.h: No such file' >&2; exit 1")
    row = machine.compiler(on_gpu=False)
    assert row.status is Status.WARN and "fatal error: Python.h" in row.found and "python3-dev" in row.fix


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.compiler(on_gpu=False).status is Status.WARN
    monkeypatch.setenv("CXX", os.fspath(tmp_path / "none"))
    assert machine.compiler(on_gpu=False).status is Status.WARN


def test_triton_is_asked_for_on_a_gpu_only(compiler, monkeypatch):
    compiler("exit 0")
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    row = machine.compiler(on_gpu=True)
    assert row.status is Status.WARN and "triton" in row.fix
    assert machine.compiler(on_gpu=False).status is Status.OK
