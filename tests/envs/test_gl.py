"""The probe of GL backends, with backends that fail, hang, crash or draw nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_kit import sweep

from envs import gl

ROOT = Path(gl.__file__).parents[1]

# Stands in for dm_control in the child processes: FAKE_<BACKEND> says how the backend behaves.
FAKE_DM_CONTROL = """
import os, pathlib, time

with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(f"{os.environ['MUJOCO_GL']} {os.environ.get('PYOPENGL_PLATFORM')}\\n")
behaviour = os.environ.get("FAKE_" + os.environ["MUJOCO_GL"].upper(), "fail")
if behaviour == "fail":
    raise ImportError("no driver for " + os.environ["MUJOCO_GL"])
if behaviour == "hang":
    time.sleep(600)
if behaviour == "crash":
    os.abort()

class Image:
    def max(self):
        return 0 if behaviour == "blank" else 200
    def min(self):
        return 0

class mujoco:
    class Physics:
        @staticmethod
        def from_xml_string(text):
            return mujoco.Physics()
        def render(self, height, width):
            if behaviour == "alone":  # works only while nobody else renders
                mine = pathlib.Path(os.environ["FAKE_LOG"]).with_name(str(os.getpid()))
                mine.touch()
                time.sleep(0.5)
                if len(list(mine.parent.glob("[0-9]*"))) > 1:
                    time.sleep(600)
            return Image()
"""

CHOOSE = """
import os, sys
from envs.gl import choose_backend
from utils.errors import UserError
try:
    print(choose_backend(timeout=3.0), os.environ["MUJOCO_GL"], os.environ.get("PYOPENGL_PLATFORM"))
    print(choose_backend(timeout=3.0))
    assert not {"mujoco", "dm_control"} & set(sys.modules)
except UserError as error:
    print(error)
"""


@pytest.fixture
def choose(tmp_path):
    """Runs choose_backend twice in a fresh process; gives its output and the backends that were tried."""
    package = tmp_path / "dm_control"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_DM_CONTROL)
    log = tmp_path / "log"

    def run(**variables):
        inherited = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", gl.OK_VARIABLE)}
        inherited.pop("PYOPENGL_PLATFORM", None)
        log.write_text("")
        environment = {**inherited, "PYTHONPATH": f"{tmp_path}:{ROOT}", "FAKE_LOG": str(log), **variables}
        done = subprocess.run([sys.executable, "-c", CHOOSE], env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout, log.read_text().splitlines()

    return run


def test_egl_comes_first_and_two_processes_render(choose):
    out, tried = choose(FAKE_EGL="ok", FAKE_OSMESA="ok")
    assert out.splitlines() == ["egl egl egl", "egl"]  # the second call does not probe again
    assert tried == ["egl egl"] * 2


@pytest.mark.parametrize("behaviour", sweep(["fail", "crash", "blank", "hang", "alone"], ("crash", "hang", "alone")))
def test_osmesa_is_next_when_egl_is_broken(choose, behaviour):
    start = time.monotonic()
    out, tried = choose(FAKE_EGL=behaviour, FAKE_OSMESA="ok")
    assert out.splitlines() == ["osmesa osmesa osmesa", "osmesa"]
    assert list(dict.fromkeys(tried)) == ["egl egl", "osmesa osmesa"]
    assert tried.count("osmesa osmesa") == 2
    assert time.monotonic() - start < 30  # hanging processes were killed


def test_an_explicit_backend_wins(choose):
    out, tried = choose(FAKE_EGL="ok", FAKE_OSMESA="ok", MUJOCO_GL="OSMesa", PYOPENGL_PLATFORM="egl")
    assert out.splitlines()[0] == "osmesa osmesa osmesa"
    assert set(tried) == {"osmesa osmesa"}


def test_an_explicit_backend_that_fails_is_an_error(choose):
    out, tried = choose(FAKE_EGL="ok", MUJOCO_GL="osmesa")
    assert "MUJOCO_GL=osmesa" in out and "no driver for osmesa" in out and "unset MUJOCO_GL" in out
    assert set(tried) == {"osmesa osmesa"}


def test_no_backend_at_all_names_the_packages(choose):
    out, _ = choose(FAKE_EGL="hang")
    for word in (
        "egl: no frame within 3 s",
        "no driver for osmesa",
        "libegl1 libgl1-mesa-dri",
        "libosmesa6",
        "MUJOCO_GL=",
    ):
        assert word in out


def test_child_processes_do_not_probe_again(choose):
    out, tried = choose(MUJOCO_GL="egl", SOMNIA_GL_OK="egl")
    assert out.splitlines()[0] == "egl egl egl" and tried == []
    out, tried = choose(MUJOCO_GL="osmesa", SOMNIA_GL_OK="egl", FAKE_OSMESA="ok")
    assert out.splitlines()[0] == "osmesa osmesa osmesa" and len(tried) == 2


PREPARE = """
import os, sys
from envs import gl
print(getattr(gl, sys.argv[1])(timeout=3.0))
print(os.environ["MUJOCO_GL"], os.environ.get("PYOPENGL_PLATFORM"))
from dm_control import mujoco
"""


@pytest.fixture
def prepare(choose, tmp_path):
    """Runs a function of ``envs.gl`` in a fresh process, which then imports dm_control: what it returned, the backend
    it settled on, and those that were tried.
    """

    def run(function, **variables):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MUJOCO_GL", "SOMNIA_GL"))}
        inherited.pop("PYOPENGL_PLATFORM", None)
        log = tmp_path / "log"
        log.write_text("")
        environment = {**inherited, "PYTHONPATH": f"{tmp_path}:{ROOT}", "FAKE_LOG": str(log), "FAKE_DISABLED": "ok"}
        command = [sys.executable, "-c", PREPARE, function]
        done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return *done.stdout.splitlines(), [line.split()[0] for line in log.read_text().splitlines()]

    return run


def test_pictures_are_had_where_they_can_be(prepare):
    assert prepare("pictures_if_possible", FAKE_EGL="ok") == ("None", "egl egl", ["egl"] * 3)
    why, settled, _ = prepare("pictures_if_possible", FAKE_EGL="crash")
    assert "egl: " in why and "osmesa: ImportError: no driver for osmesa" in why and settled == "disabled None"
    why, settled, tried = prepare("pictures_if_possible", FAKE_EGL="ok", MUJOCO_GL="osmesa")
    assert "MUJOCO_GL=osmesa" in why and settled == "disabled None" and "egl" not in tried
    why, settled, tried = prepare("pictures_if_possible", FAKE_EGL="ok", MUJOCO_GL="off")
    assert "MUJOCO_GL=off" in why and settled == "disabled None" and tried == ["disabled"]


@pytest.mark.parametrize(
    ("variables", "settled", "tried"),
    [
        ({"FAKE_EGL": "blank"}, "egl egl", ["egl", "egl"]),  # it can be loaded, and nobody draws
        ({"FAKE_EGL": "crash", "FAKE_OSMESA": "ok"}, "osmesa osmesa", ["egl", "osmesa", "osmesa"]),
        ({"FAKE_EGL": "hang"}, "disabled None", ["egl", "osmesa", "disabled"]),
        ({"MUJOCO_GL": "osmesa", "FAKE_EGL": "ok"}, "disabled None", ["osmesa", "disabled"]),
        ({"MUJOCO_GL": "foo", "PYOPENGL_PLATFORM": "egl"}, "disabled None", ["foo", "disabled"]),
        ({"MUJOCO_GL": "NONE"}, "disabled None", ["disabled"]),
        ({"MUJOCO_GL": "egl", "SOMNIA_GL_OK": "egl", "FAKE_EGL": "ok"}, "egl None", ["egl"]),
        ({"MUJOCO_GL": "egl", "SOMNIA_GL_LOADS": "egl", "FAKE_EGL": "ok"}, "egl None", ["egl"]),
    ],
)
def test_dm_control_can_be_imported_without_pictures_whatever_is_asked(prepare, variables, settled, tried):
    assert prepare("without_pictures", **variables) == ("None", settled, tried)


@pytest.mark.parametrize("value", ["disabled", "none", "off"])
def test_rendering_switched_off_is_an_error_at_once(choose, value):
    out, tried = choose(MUJOCO_GL=value)
    assert f"MUJOCO_GL={value}" in out and "unset MUJOCO_GL" in out and tried == []
    assert "obs_type=states" not in out  # which every script refuses


def test_the_real_probe_prints_backend_and_time():
    environment = {key: value for key, value in os.environ.items() if key != gl.OK_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "envs.gl"], env=environment, capture_output=True, text=True, cwd=ROOT, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MUJOCO_GL=") and done.stdout.rstrip().endswith("ms")
