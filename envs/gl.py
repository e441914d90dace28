"""Which OpenGL backend really works here? ``python -m envs.gl`` prints it and the time of one frame.

MuJoCo and dm_control read ``MUJOCO_GL`` when they are imported, and a broken driver may fail, crash or hang only when
the first frame is drawn. So the probe draws frames in child processes before this process imports either.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

from utils.errors import UserError, exit_status
from utils.process import signals_held

CANDIDATES = ("egl", "osmesa") if sys.platform.startswith("linux") else ("glfw",)
NO_RENDERING = ("disabled", "disable", "off", "false", "0", "none", "no")
UNSET = "Start again without it (unset MUJOCO_GL): a backend that works here is then chosen."
OK_VARIABLE = "SOMNIA_GL_OK"  # the backend that a parent process found to work
LOADS_VARIABLE = "SOMNIA_GL_LOADS"  # the backend with which a parent process found that dm_control can be imported
LOAD = "from dm_control import mujoco"

# Two at once: several EGL renderers on one GPU have hung where a single one worked (google-deepmind/mujoco#3444).
PROBE_PROCESSES = 2
PROBE_TIMEOUT = 60.0  # seconds
PROBE = """
import time
from dm_control import mujoco
scene = "<mujoco><worldbody><light pos='0 0 2'/><geom type='sphere' size='.5'/></worldbody></mujoco>"
physics = mujoco.Physics.from_xml_string(scene)
physics.render(64, 64)
start, seconds, frames = time.perf_counter(), 0.0, 0
while seconds < 0.5:  # long enough for the two processes to overlap
    image = physics.render(64, 64)
    frames, seconds = frames + 1, time.perf_counter() - start
assert image.max() > image.min(), "the frame is blank"
print(seconds / frames)
"""


class Probe(NamedTuple):
    """``seconds``: time of one 64 x 64 frame, the slowest process; ``failure``: why it does not work, or empty."""

    seconds: float
    failure: str


class NoPictures(UserError):
    """Nothing can be rendered here; ``why`` says so in one line."""

    def __init__(self, message: str, why: str) -> None:
        self.why = why
        super().__init__(message)


def choose_backend(timeout: float = PROBE_TIMEOUT) -> str:
    """Chooses a backend that really renders, sets ``MUJOCO_GL`` and ``PYOPENGL_PLATFORM`` to it, and returns its name.

    An explicit ``MUJOCO_GL`` wins, but has to work. Child processes inherit the result and do not probe again.

    Args:
        timeout: seconds that one backend may take for its first frames.

    Raises:
        NoPictures: rendering is switched off, the explicit backend does not work, or none does.
    """
    loaded = sys.modules.get("dm_control._render")
    if loaded is not None:  # too late to choose: dm_control has
        if loaded.BACKEND in (None, "off"):
            why = f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: dm_control was loaded without a GL backend"
            raise NoPictures(f"{why}, pixels need one. {UNSET}", why)
        return loaded.BACKEND

    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in NO_RENDERING:
        why = f"MUJOCO_GL={asked} switches rendering off"
        raise NoPictures(f"{why}, but obs_type=pixels needs it. {UNSET}", why)
    if asked and os.environ.get(OK_VARIABLE) == asked:
        _export(asked)
        return asked

    failures = {}
    for backend in (asked,) if asked else CANDIDATES:
        failures[backend] = probe(backend, timeout).failure
        if not failures[backend]:
            _export(backend)
            return backend
    why = "; ".join(f"{f'MUJOCO_GL={backend}' if asked else backend}: {told}" for backend, told in failures.items())
    raise NoPictures(_explain(asked, failures), f"no OpenGL backend renders a frame here ({why})")


def pictures_if_possible(timeout: float = PROBE_TIMEOUT) -> str | None:
    """As :func:`choose_backend` where pictures are welcome, but not needed: why there are none, or None.

    Without any, dm_control is kept from loading a renderer.
    """
    try:
        choose_backend(timeout)
    except NoPictures as error:
        _switch_off()
        return error.why
    return None


def without_pictures(timeout: float = PROBE_TIMEOUT) -> None:
    """Sees to it that dm_control can be imported although nothing is known of renderers, without drawing anything.

    It tries some by itself, fails with one that is named in ``MUJOCO_GL`` and not there, and does not know all values
    that mean "off". A backend that it can load stays chosen: pictures may be asked for later in this process.
    """
    if "dm_control._render" in sys.modules:
        return
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked and asked in (os.environ.get(OK_VARIABLE), os.environ.get(LOADS_VARIABLE)):
        return
    candidates = () if asked in NO_RENDERING else (asked,) if asked else CANDIDATES
    for backend in candidates:
        if _loads(backend, timeout):
            os.environ.pop("PYOPENGL_PLATFORM", None)
            os.environ.update(_environment(backend), **{LOADS_VARIABLE: backend})
            return
    _switch_off()


def _loads(backend: str, timeout: float) -> bool:
    """Whether dm_control can be imported with ``backend``; a driver may also crash or hang then."""
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with signals_held():
        child = subprocess.Popen([sys.executable, "-c", LOAD], env=_environment(backend), **quiet)
    try:
        return child.wait(timeout) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        child.kill()
        child.wait()


def _switch_off() -> None:
    if "dm_control._render" not in sys.modules:
        os.environ.pop("PYOPENGL_PLATFORM", None)
        os.environ["MUJOCO_GL"] = "disabled"


def probe(backend: str, timeout: float = PROBE_TIMEOUT) -> Probe:
    """Renders a tiny model with ``backend`` in two child processes at once, which are killed after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    command = [sys.executable, "-c", PROBE]
    pipe = subprocess.PIPE
    streams: dict[str, Any] = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL, "text": True}
    with signals_held():  # one that a signal ends would look like a backend that does not work
        children = [subprocess.Popen(command, env=_environment(backend), **streams) for _ in range(PROBE_PROCESSES)]
    seconds = 0.0
    try:
        for child in children:
            out, err = child.communicate(timeout=max(0.0, deadline - time.monotonic()))
            if child.returncode != 0:
                lines = err.strip().splitlines()
                return Probe(0.0, lines[-1] if lines else f"the process ended with code {child.returncode}")
            seconds = max(seconds, float(out.split()[-1]))
    except subprocess.TimeoutExpired:
        return Probe(0.0, f"no frame within {timeout:g} s")
    finally:
        for child in children:
            child.kill()
            child.communicate()  # reaps it and closes its pipes
    return Probe(seconds, "")


def _environment(backend: str) -> dict[str, str]:
    """This process's environment variables with ``backend`` selected for MuJoCo, dm_control and PyOpenGL alike."""
    variables = {**os.environ, "MUJOCO_GL": backend}
    variables.pop("PYOPENGL_PLATFORM", None)  # a contradicting value makes dm_control refuse the backend
    if backend in ("egl", "osmesa"):
        variables["PYOPENGL_PLATFORM"] = backend
    return variables


def _export(backend: str) -> None:
    os.environ.pop("PYOPENGL_PLATFORM", None)
    os.environ.update(_environment(backend), **{OK_VARIABLE: backend})


def _explain(asked: str, failures: dict[str, str]) -> str:
    if asked:
        message = f"MUJOCO_GL={asked} is set, but this backend renders no frame here."
    else:
        message = "No OpenGL backend renders a frame here, and obs_type=pixels needs one."
    for backend, failure in failures.items():
        message += f"\n  {backend}: {failure}"
    message += "\nOn Debian or Ubuntu, install one of:"
    message += "\n  apt-get install libegl1 libgl1-mesa-dri   (MUJOCO_GL=egl, GPU or software)"
    message += "\n  apt-get install libosmesa6                (MUJOCO_GL=osmesa, software)"
    if asked:
        return message + "\nor unset MUJOCO_GL to have a working backend chosen."
    return message


@exit_status
def main() -> None:
    """Prints the chosen backend and the time of one frame."""
    backend = choose_backend()
    print(f"MUJOCO_GL={backend}: one 64 x 64 frame of a sphere takes {1e3 * probe(backend).seconds:.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
