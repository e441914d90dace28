"""What the machine offers: imports that work, a GL driver, a GPU, a compiler. Broken drivers crash or hang: all of it
is tried in child processes.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sysconfig
from typing import Any

from doctoring.child import Done, run_python
from doctoring.row import Row, fail, ok, warn
from envs import gl

TORCH = """
import json, torch
torch.ones(2, 2) @ torch.ones(2, 2)
cuda = torch.cuda.is_available()
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if cuda else []
print(json.dumps([torch.__version__, [[gpu.name, gpu.total_memory] for gpu in gpus]]))
"""
# MUJOCO_GL is not looked at here: rendering has a check of its own
DM_CONTROL = """
import os
os.environ["MUJOCO_GL"] = "disabled"
os.environ.pop("PYOPENGL_PLATFORM", None)
import dm_control.suite, mujoco
dm_control.suite.load("walker", "stand").reset()
print(mujoco.__version__)
"""
COMPILE_SECONDS = 60.0
LIBRARIES = "apt-get install libegl1 libgl1-mesa-dri (MUJOCO_GL=egl) or libosmesa6 (MUJOCO_GL=osmesa)"


def probe_torch() -> Done:
    """Import torch and look for GPUs, in a child process; its output is the version and (name, bytes) of each GPU."""
    return run_python(TORCH)


def import_torch(probed: Done) -> Row:
    """``import torch`` works."""
    if probed.failure:
        return fail(f"import torch: {probed.failure}", "pip install --force-reinstall torch")
    version, _ = json.loads(probed.out.splitlines()[-1])
    return ok(f"torch {version}")


def gpus(probed: Done) -> list[tuple[str, int]]:
    """(name, bytes of memory) of every GPU that torch can use."""
    if probed.failure:
        return []
    return [(name, size) for name, size in json.loads(probed.out.splitlines()[-1])[1]]


def import_dm_control() -> Row:
    """``import dm_control.suite`` works, and makes an environment."""
    done = run_python(DM_CONTROL)
    if done.failure:
        return fail(
            f"import dm_control.suite: {done.failure}", "make setup (the tested versions of mujoco, dm_control)"
        )
    return ok(f"walker_stand resets, mujoco {done.out.split()[-1]}")


def rendering() -> Row:
    """The backend a run would take draws frames, two processes at once (see ``envs.gl``)."""
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    choice = f"unset MUJOCO_GL to have a working one of {', '.join(gl.CANDIDATES)} chosen"
    if asked in gl.NO_RENDERING:
        return fail(f"MUJOCO_GL={asked} switches rendering off", choice)
    failures = []
    for backend in (asked,) if asked else gl.CANDIDATES:
        seconds, failure = gl.probe(backend)
        if not failure:
            return ok(f"MUJOCO_GL={backend}: {1e3 * seconds:.1f} ms for a 64 x 64 frame of a sphere")
        failures.append(f"{'MUJOCO_GL=' if asked else ''}{backend}: {failure}")
    return fail("no frame was drawn\n" + "\n".join(failures), f"{choice}\n{LIBRARIES}" if asked else LIBRARIES)


def device(asked: str, found: list[tuple[str, int]]) -> Row:
    """The device that ``device=<asked>`` gives."""
    if asked == "cpu":
        return ok("device=cpu")
    index = int(asked.partition(":")[2] or 0)
    if index < len(found):
        name, size = found[index]
        return ok(f"device={asked}: {name}, {size / 1e9:.0f} GB")
    if asked == "auto":
        return warn(
            "device=auto takes the CPU: torch finds no CUDA device",
            "the published sizes want a GPU and a CUDA build of torch; on a CPU use preset=small",
        )
    there = f"there are {len(found)} CUDA devices" if found else "torch finds no CUDA device"
    return fail(f"device={asked}: {there}", "device=auto or device=cpu")


def compiler(on_gpu: bool) -> Row:
    """What ``torch.compile`` would call: a C++ compiler that finds Python's header, and triton on a GPU."""
    if on_gpu and importlib.util.find_spec("triton") is None:
        return warn("torch.compile on CUDA needs triton, which is missing", "pip install triton")
    name = os.environ.get("CXX") or next((c for c in ("g++", "clang++", "c++") if shutil.which(c)), None)
    fix = "apt-get install g++ python3-dev (runs work without: they are not compiled unless asked)"
    if name is None:
        return warn("torch.compile needs a C++ compiler, and there is none", fix)
    arguments: dict[str, Any] = {"input": "#include <Python.h>\n", "text": True, "capture_output": True}
    command = [*name.split(), "-fsyntax-only", "-x", "c++", f"-I{sysconfig.get_path('include')}", "-"]
    try:
        done = subprocess.run(command, timeout=COMPILE_SECONDS, check=False, **arguments)
    except (OSError, subprocess.TimeoutExpired) as error:
        return warn(f"torch.compile: {name} does not run ({type(error).__name__})", fix)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        return warn(f"torch.compile: {name} compiles nothing here ({lines[0] if lines else 'no reason given'})", fix)
    return ok(f"{os.path.basename(name)} compiles" + (", triton is there" if on_gpu else ""))
