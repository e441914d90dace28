"""A console that is closed, full, gone or cannot spell: the process goes on, and ends with its own exit status."""

import errno
import io
import os
import pty
import subprocess
import sys

import pytest

from utils.streams import is_terminal, lost, show

TALKER = """
import contextlib, os, subprocess, sys, warnings
from utils import streams
streams.protect(announce={announce})
for line in range(3000):
    print("line", line, "\\U0001f98a \\udcff", flush=line % 2 == 0)
    print("on stderr", line, file=sys.stderr)
warnings.warn("of a library")
with contextlib.suppress(OSError):
    os.write(2, b"of a driver")
subprocess.run(["sh", "-c", "echo from a child; echo and here >&2 || true"], check=True)
with open({done!r}, "w") as file:
    print(file.fileno(), file=file)
sys.exit(7)
"""


def talk(tmp_path, redirection, announce=False, words="", **environment):
    """Runs :data:`TALKER` in bash; what it printed, its exit status, and the number its file had."""
    done, status = tmp_path / "done", tmp_path / "status"
    (tmp_path / "talker.py").write_text(TALKER.format(done=str(done), announce=announce))
    talker = f"{sys.executable} {words} {tmp_path / 'talker.py'}"
    shown = subprocess.run(
        f"({talker}; echo $? >{status}) {redirection}",
        shell=True,
        executable="/bin/bash",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return shown, int(status.read_text()), int(done.read_text())


@pytest.mark.parametrize("words", ["", "-u"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "redirection",
    [
        "| head -n 1",
        "2>&1 | head -n 1",
        "2>&-",
        ">&-",
        ">/dev/full",
        ">/dev/null 2>/dev/full",
        ">/dev/full 2>&-",
        "2>&- >&- <&-",
    ],
)
def test_a_console_that_takes_nothing(tmp_path, redirection, words):
    shown, status, file = talk(tmp_path, redirection, words=words)
    assert status == 7
    assert file > 2, "a file must not become what libraries take for stderr"
    assert b"Traceback" not in shown.stderr and b"Exception ignored" not in shown.stderr


def test_characters_that_the_encoding_lacks_are_escaped(tmp_path):
    shown, status, _ = talk(tmp_path, "", PYTHONIOENCODING="ascii")
    assert status == 7
    assert shown.stdout.splitlines()[0] == rb"line 0 \U0001f98a \udcff"
    shown, _, _ = talk(tmp_path, "", PYTHONIOENCODING="utf-8")
    assert shown.stdout.splitlines()[0] == "line 0 \U0001f98a".encode() + rb" \udcff"


def test_nothing_is_lost_where_nothing_is_wrong(tmp_path):
    shown, status, _ = talk(tmp_path, "")
    assert status == 7
    assert len(shown.stdout.splitlines()) == 3001 and shown.stdout.endswith(b"from a child\n")
    assert shown.stderr.count(b"on stderr") == 3000 and b"of a library" in shown.stderr


@pytest.mark.parametrize("redirection", ["| head -n 1", ">/dev/full"])
def test_the_first_loss_is_told_once_where_that_is_wanted(tmp_path, redirection):
    shown, _, _ = talk(tmp_path, redirection, announce=True)
    (note,) = [line for line in shown.stderr.splitlines() if line.startswith(b"note: ")]
    assert b"stdout" in note
    quiet, _, _ = talk(tmp_path, redirection)
    assert b"note: " not in quiet.stderr


def test_a_terminal_that_goes_away(tmp_path):
    done = tmp_path / "done"
    master, slave = pty.openpty()
    script = "import sys; sys.stdin.readline()\n" + TALKER.format(done=str(done), announce=True)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    os.close(master)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 7 and done.exists()


def test_streams_of_others_stay(monkeypatch):
    from utils.streams import protect

    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    protect()
    assert sys.stdout is mine and lost(mine) is None


class Broken(io.StringIO):
    def write(self, text):
        raise OSError(errno.EIO, "gone")


def test_show_raises_nothing(capsys):
    closed = io.StringIO()
    closed.close()
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for stream in (None, closed, Broken()):
        show("text", stream)
        assert not is_terminal(stream)
    show("fox \U0001f98a", ascii_only)
    assert ascii_only.buffer.getvalue() == b"fox \\U0001f98a\n"
    assert capsys.readouterr() == ("", "")
