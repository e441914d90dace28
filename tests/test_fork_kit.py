"""A forked program is to a script what a process of its own is."""

import os
import signal
import subprocess
import sys
import time

import pytest
from fork_kit import AT_IMPORT, Program, run

TELLS = """
import atexit, multiprocessing, os, sys, threading, time
atexit.register(print, "left")
threading.Thread(target=lambda: time.sleep(0.3) or print("of a thread")).start()
print(sys.argv[1:], __name__, os.path.basename(__file__), os.getcwd(), os.environ["WORD"], os.getsid(0) == os.getpid())
print(repr(sys.stdin.read()), multiprocessing.parent_process(), multiprocessing.current_process().name, sys.path[0])
sys.stdout.flush()
os.system("echo of a child")
print("on stderr", file=sys.stderr)
{end}
"""
ENDS = {
    "none": ("", 0, ""),
    "a number": ("sys.exit(3)", 3, ""),
    "a large number": ("sys.exit(257)", 1, ""),
    "a text": ("sys.exit('error: so')", 1, "error: so\n"),
    "an exception": ("raise OSError('broken')", 1, "OSError: broken\n"),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
    "on the spot": ("os._exit(130)", 130, ""),
    "a signal": ("os.kill(os.getpid(), 9)", -9, ""),
}


@pytest.fixture
def script(tmp_path):
    def write(text):
        (tmp_path / "script.py").write_text(text)
        return tmp_path / "script.py"

    return write


def told(done):
    """What the text of a process says, without where in the code an exception was."""
    lines = done.stderr.splitlines(keepends=True)
    return [line for line in lines if not line.startswith((" ", "Traceback"))]


@pytest.mark.parametrize("end", ENDS)
def test_it_says_and_ends_as_a_process_of_its_own(script, tmp_path, end):
    last, status, said = ENDS[end]
    path, env = script(TELLS.format(end=last)), {**os.environ, "WORD": "in the environment"}
    forked = run(path, "a", "b c", cwd=tmp_path, env=env)
    real = subprocess.run(
        [sys.executable, path, "a", "b c"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (forked.returncode, forked.stdout, told(forked)) == (real.returncode, real.stdout, told(real))
    assert forked.returncode == status and forked.stderr.endswith(said or "on stderr\n")
    assert "in the environment" in forked.stdout and ("left" in forked.stdout) == (
        end not in ("on the spot", "a signal")
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_come_as_to_a_process_of_its_own(script, tmp_path, number):
    path = script("import pathlib, time\npathlib.Path('there').touch()\ntime.sleep(100)")
    program = Program(path, cwd=tmp_path, session=True)
    while not (tmp_path / "there").exists() and program.poll() is None:
        time.sleep(0.01)
    assert os.getsid(program.pid) == program.pid
    os.killpg(program.pid, number)
    out, err = program.communicate(60)
    assert program.returncode == -number and out == ""
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


@pytest.mark.parametrize("name", AT_IMPORT)
def test_what_was_read_already_takes_a_process_of_its_own(script, tmp_path, name):
    with pytest.raises(ValueError, match=name):
        Program(script(""), cwd=tmp_path, env={**os.environ, name: "other"})


def test_modules_beside_the_script_and_of_the_path_are_found_and_those_of_the_tests_are_not(script, tmp_path):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "named.py").write_text("")
    path = script("import beside, named\nimport advice_kit")
    done = run(path, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "far")})
    assert done.returncode == 1 and "No module named 'advice_kit'" in done.stderr
