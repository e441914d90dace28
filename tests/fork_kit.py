"""Processes that are there at once: forked from a server that has imported what runs and scripts import.

To import torch, its optimisers, MuJoCo and Hydra takes a process longer than most runs of the tests take. The server is
started once by each process that runs tests; it renders nothing and starts no thread, so none is forked.
"""

import atexit
import io
import multiprocessing
import multiprocessing.process
import os
import signal
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping
from pathlib import Path

import torch

from envs.gl import choose_backend

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["kill_kit", "entry.cli", "envs.dmc", "torch._dynamo", "torch.utils.tensorboard", "matplotlib"]
)

ROOT = Path(__file__).resolve().parent.parent
AT_IMPORT = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "PYTHONIOENCODING", "PYTHONUNBUFFERED")
"""Variables that are read where the server has been already: a process with others is one for :mod:`subprocess`."""


class Program:
    """``python <script> <words>``, begun; what :class:`subprocess.Popen` has of it, with both outputs as texts.

    ``session``: in a session of its own. One thread computes, as in the tests. Raises ValueError for an environment
    that takes a process of its own.
    """

    def __init__(
        self, script: Path, *words: str, cwd: Path, env: Mapping[str, str] | None = None, session: bool = False
    ) -> None:
        choose_backend()  # before the server imports dm_control, which chooses for all its children
        env = dict(os.environ if env is None else env)
        if other := [name for name in AT_IMPORT if env.get(name) != os.environ.get(name)]:
            raise ValueError(f"{', '.join(other)}: read before this program is there; start it with subprocess")
        self.args = [str(script), *words]
        self._outputs = tempfile.TemporaryDirectory()
        where = [str(Path(self._outputs.name, name)) for name in ("stdout", "stderr")]
        for path in where:
            Path(path).touch()
        self._process = server.Process(target=_become, args=(self.args, str(cwd), env, where, session))
        self._process.start()
        self.pid = self._process.pid
        assert self.pid is not None

    def poll(self) -> int | None:
        """The exit status, minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self._process.pid or 0, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end; stdout and stderr. Raises :class:`subprocess.TimeoutExpired`, and ends it."""
        self._process.join(timeout)
        if self.poll() is None:
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.args, timeout)
        out, err = (Path(self._outputs.name, name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return out, err

    @property
    def returncode(self) -> int | None:
        return self.poll()


def run(
    script: Path, *words: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 250
) -> subprocess.CompletedProcess[str]:
    """:class:`Program` to its end."""
    program = Program(script, *words, cwd=cwd, env=env)
    out, err = program.communicate(timeout)
    assert program.returncode is not None
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def _become(argv: list[str], cwd: str, env: dict[str, str], outputs: list[str], session: bool) -> None:
    """Be what ``python <argv>`` would be; does not return."""
    if session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in enumerate((os.devnull, *outputs)):
        file = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _text(1, "strict")
    sys.stderr = sys.__stderr__ = _text(2, "backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # nobody's child, as far as Python knows
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    [first] = [kind for kind in multiprocessing.process.BaseProcess.__subclasses__() if kind.__name__ == "_MainProcess"]
    multiprocessing.process._current_process = first()  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    sys.argv = argv
    named = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [
        str(Path(argv[0]).parent),
        *named,
        *filter(_is_pythons, sys.path),
    ]
    main = types.ModuleType("__main__")
    main.__file__ = argv[0]
    sys.modules["__main__"] = main
    _leave(_status(main))


def _is_pythons(path: str) -> bool:
    """Whether this stands in ``sys.path`` of every process, and was not put in there for tests."""
    return any(Path(path).is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix))


def _text(descriptor: int, errors: str) -> io.TextIOWrapper:
    raw, unbuffered = io.FileIO(descriptor, "w", closefd=False), bool(os.environ.get("PYTHONUNBUFFERED"))
    buffer = raw if unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, errors=errors, line_buffering=descriptor == 2, write_through=unbuffered)  # type: ignore[type-var]


def _status(main: types.ModuleType) -> int:
    """Run the file of ``main`` as Python runs a script; its exit status, or minus the signal it is to end by."""
    try:
        exec(compile(Path(str(main.__file__)).read_bytes(), str(main.__file__), "exec"), main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _leave(status: int) -> None:
    """What Python does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
