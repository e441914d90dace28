"""Scripts and what may happen to their process: signals at any moment, and a console that goes away."""

import ast
import fcntl
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from process_kit import gone

from entry import cli
from entry.start import launch
from training.checkpoint import load
from training.run import CHECKPOINT
from utils.errors import UserError
from utils.process import STOPS

pytestmark = pytest.mark.usefixtures("hangups")
ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("preset=debug", "device=cpu", "agent=dreamer", "snapshot_dir=null", "save_video=false", "use_tb=false")
ENDLESS = (*SETTINGS, "evaluate=false", "num_train_frames=1000000")


@contextmanager
def started(folder, *overrides, **options):
    """``dreamer_pretrain.py`` in a session of its own."""
    command = [sys.executable, str(ROOT / "dreamer_pretrain.py"), *overrides, f"hydra.run.dir={folder}"]
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def collects(folder):
    """Whether a run has begun its first step."""
    return any((folder / "replay").glob("stream_0/*"))


def stop_at(moment, folder, number, *, whole_group):
    """Sends a signal when ``moment()`` has come; what was printed on stderr."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(folder, *ENDLESS, **pipes) as process:
        wait_for(lambda: moment(process), process)
        (os.killpg if whole_group else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors, errors
    return errors


WAITS = """
import pathlib, time
try:
    pathlib.Path({!r}).touch()
    time.sleep(1000)
except BaseException:
    pass
"""


def test_while_a_script_imports_it_leaves_at_once(tmp_path, monkeypatch):
    """Whatever is being imported, here in place of Hydra."""
    importing, package = tmp_path / "importing", tmp_path / "path" / "hydra"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(WAITS.format(str(importing)))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    assert stop_at(lambda process: importing.exists(), tmp_path / "run", signal.SIGTERM, whole_group=False) == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_while_a_job_imports_nothing_is_left(tmp_path, number):
    def torch_comes(process):
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()

    stop_at(torch_comes, tmp_path / "run", number, whole_group=True)
    assert list(tmp_path.iterdir()) == []


AS_ITS_FOLDER_IS_MADE = """
import os, pathlib, runpy, signal, sys
made = pathlib.Path.mkdir

def mkdir(path, *args, **kwargs):
    made(path, *args, **kwargs)
    if path.name == "run":
        os.kill(os.getpid(), signal.SIGTERM)

pathlib.Path.mkdir = mkdir
sys.argv[0] = {script!r}
sys.path.insert(0, {root!r})
runpy.run_path({script!r}, run_name="__main__")
"""


def test_while_hydra_makes_the_folder_nothing_is_left(tmp_path):
    script = AS_ITS_FOLDER_IS_MADE.format(script=str(ROOT / "dreamer_pretrain.py"), root=str(ROOT))
    command = [sys.executable, "-c", script, *ENDLESS, "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 130 and "SIGTERM" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_during_a_refused_job_of_a_sweep_it_ends_the_sweep(tmp_path, monkeypatch):
    def refused(config):
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("seed=-1 is not possible.")

    where = {"output_dir": str(tmp_path / "0"), "cwd": str(tmp_path)}
    sweep = {"mode": RunMode.MULTIRUN, "job": {"num": 0}, "runtime": where, "sweep": {"dir": "."}}
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(sweep))
    monkeypatch.setattr(cli, "_job_started", False)
    with pytest.raises(KeyboardInterrupt):
        cli.job_errors(refused)(OmegaConf.create())


ONCE_MORE = """
import atexit, os, signal, sys
from utils.process import begin
begin()
from types import SimpleNamespace
from entry import cli
from training.interrupt import StopSignal

cli.checked = lambda name, asked: SimpleNamespace(sweep=False)  # as if composed: that loads torch
cli.begin = lambda composed: []
states = {}

def once_more(frame, event, argument):
    file = frame.f_code.co_filename
    if not file.startswith((os.environ["PYTHONPATH"], "<string>")) or ".venv" in file:
        return None
    if event != "line":
        return once_more
    sys.settrace(None)
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGINT)
        return None
    where = f"{os.path.basename(file)}:{frame.f_lineno}"
    states.setdefault(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), []).append(where)
    sys.settrace(once_more)
    return once_more

def main():
    StopSignal.standing().received = True
    atexit.register(lambda parent: os.getpid() == parent and print(states), os.getpid())
    frame = sys._getframe()
    while frame is not None:
        frame.f_trace = once_more
        frame = frame.f_back
    sys.settrace(once_more)
    raise KeyboardInterrupt

cli.cli(main, "pretrain")
"""
"""While it ends, at each line of ours, a child process gets the signal once more and goes on to the end."""


def test_one_more_ctrl_c_after_stopped_does_not_change_the_status(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ONCE_MORE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    states = ast.literal_eval(done.stdout)
    assert done.returncode == 130 and list(states) == [130], states
    assert len(states[130]) > 10 and "Traceback" not in done.stderr, done.stderr


def commands():
    """Every file that is a command, but tests, and but a library that was one."""
    files = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv", "build"} & set(path.relative_to(ROOT).parts)]
    files.remove(ROOT / "training" / "checkpoint.py")
    return [path for path in files if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8").splitlines()]


def calls(statement):
    return [ast.unparse(node.func) for node in ast.walk(statement) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", commands(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_answers_signals_from_its_first_import_on(path):
    """What is imported before takes no time: the standard library."""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    first = next(k for k, one in enumerate(statements) if {"begin", "run_moved"} & set(calls(one)))
    for statement in statements[:first]:
        if isinstance(statement, ast.Import):
            named = [alias.name for alias in statement.names]
        else:
            named = [statement.module] if isinstance(statement, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in named} <= {*sys.stdlib_module_names, "utils"}, ast.unparse(statement)


@pytest.mark.long
@pytest.mark.parametrize("round_", range(20))
def test_at_any_moment_there_is_nothing_or_a_run_to_go_on_with(tmp_path, round_):
    chance = random.Random(round_)
    begun, folder = time.monotonic(), tmp_path / "run"
    until = begun + chance.uniform(0.2, 15)
    errors = stop_at(
        lambda process: time.monotonic() > until, folder, chance.choice(STOPS), whole_group=chance.random() < 0.5
    )
    if folder.exists():
        assert f"resume={folder}" in errors and (folder / CHECKPOINT).exists()
        more = [sys.executable, str(ROOT / "dreamer_pretrain.py"), f"resume={folder}", "num_train_frames=2"]
        assert subprocess.run(more, capture_output=True, timeout=200).returncode == 0


@contextmanager
def in_terminal(folder, *overrides):
    """A run that a terminal controls, and what closes the terminal."""
    master, slave = pty.openpty()
    takes = {"stdin": slave, "stdout": slave, "stderr": slave}
    controls = {"preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    with started(folder, *overrides, **takes, **controls) as process:
        os.close(slave)
        yield process, lambda: os.close(master)


@pytest.mark.parametrize("round_", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 20))])
def test_a_terminal_that_goes_away_leaves_a_checkpoint_and_the_run_resumes(tmp_path, settings, round_):
    """The kernel sends SIGHUP to the foreground, the shell does so, too, and nothing can be written any more."""
    folder = tmp_path / "run"
    with in_terminal(folder, *ENDLESS, "num_envs=2", "replay.prefetch=true") as (process, hang_up):
        wait_for(lambda: collects(folder), process)
        time.sleep(0.5 + 0.1 * round_)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        hang_up()
        for _ in range(2):
            time.sleep(0.1)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(timeout=200) == 130
        assert children and gone(children)
    step = load(folder / CHECKPOINT, "checkpoint")["counters"]["step"]
    assert step > 0
    config = settings("pretrain", *ENDLESS, "num_envs=2", "replay.prefetch=true", "progress=false")
    resumed = launch(config | {"num_train_frames": 2 * step + 40}, folder, "pretrain", resume=True)
    assert resumed.step == step + 20


def test_a_run_ends_well_without_a_console(tmp_path):
    """In a folder that the console cannot spell."""
    home = tmp_path / "fox \U0001f98a"
    home.mkdir()
    words = " ".join((*SETTINGS, "evaluate=false", "num_train_frames=20", "snapshots=[20]", "hydra.run.dir=run"))
    command = f"({sys.executable} {ROOT / 'dreamer_pretrain.py'} {words} 2>&-; echo $? >status) | head -n 1"
    shown = subprocess.run(
        command,
        shell=True,
        executable="/bin/bash",
        cwd=home,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=200,
    )
    assert (home / "status").read_text() == "0\n"
    assert rb"fox \U0001f98a" in shown.stdout
    assert load(home / "run" / CHECKPOINT, "checkpoint")["counters"]["step"] == 10
    assert (home / "run" / "snapshot_20.pt").is_file()
