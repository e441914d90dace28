"""Files that appear whole or not at all, and what is cleaned of those that a killed process was writing."""

import os
import signal
import subprocess
import sys

import pytest

from utils import locks
from utils.atomic import atomic_path, is_temporary, remove_leftovers

WRITE = """
import os, signal, sys
from pathlib import Path
from utils.atomic import atomic_path
for path in sys.argv[1:]:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    held = atomic_path(Path(path))
    held.__enter__().write_bytes(b"half")
    globals()[path] = held
print("writing", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""

FOREIGN = (
    ".notes.12.tmp.txt",
    ".checkpoint.4711.tmp.pt",
    ".tmp",
    ".x.somnia-12.tmp.pt",
    "x.somnia-0123456789abcdef.tmp.pt",
    ".x.somnia-0123456789abcdef.txt",
    ".lock",
)


@pytest.fixture
def writer():
    """``writer(*paths)``: a process in the middle of writing them; ``.kill()`` ends it there."""
    started = []

    def start(*paths):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE, *map(str, paths)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(child)
        assert child.stdout.readline() == b"writing\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_appears_whole_and_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as temporary:
        assert is_temporary(temporary.name) and temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path):
    with atomic_path(tmp_path / "a.txt") as one, atomic_path(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a.txt").read_text() == "one" and names(tmp_path) == ["a.txt"]


def test_leftovers_of_the_dead_go_at_any_depth_and_nothing_else(tmp_path, writer):
    for place in (tmp_path, tmp_path / "videos"):
        place.mkdir(exist_ok=True)
        for name in FOREIGN:
            (place / name).write_text("mine")
    ours = [tmp_path / "checkpoint.pt", tmp_path / "videos/a.mp4", tmp_path / "replay/layout.json"]
    alive, dying = writer(tmp_path / "videos/b.mp4"), writer(*ours)
    assert len(names(tmp_path)) == 2 * len(FOREIGN) + 4
    assert remove_leftovers(tmp_path, deep=True) == []  # both write
    dying.communicate(b"die\n")
    assert dying.returncode == -signal.SIGKILL
    assert len(remove_leftovers(tmp_path)) == 1
    assert len(remove_leftovers(tmp_path, deep=True)) == 2
    (left,) = [name for name in names(tmp_path) if name not in FOREIGN]
    assert is_temporary(left) and left.startswith(".b.")
    alive.kill()
    alive.wait()
    assert len(remove_leftovers(tmp_path, deep=True)) == 1
    assert names(tmp_path) == sorted(2 * FOREIGN)


def test_folders_and_links_of_such_a_name_stay(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.a.somnia-0123456789abcdef.tmp").mkdir()
    (tmp_path / "run/.b.somnia-0123456789abcdef.tmp.pt").symlink_to(tmp_path / "precious")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "run")
    os.mkfifo(tmp_path / "run/.c.somnia-0123456789abcdef.tmp")
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path / "run", deep=True)
    assert [path for path in before if not os.path.lexists(path)] in ([], [before[-1]], [before[-2]])
    assert (tmp_path / "precious").read_text() == "mine" and (tmp_path / "run/.a.somnia-0123456789abcdef.tmp").is_dir()


def test_without_file_locks_nothing_is_removed(tmp_path, writer, monkeypatch):
    child = writer(tmp_path / "a.pt")
    monkeypatch.setattr("utils.atomic.lock", lambda descriptor: False)
    child.communicate(b"die\n")
    assert remove_leftovers(tmp_path) == [] and len(names(tmp_path)) == 1


def test_a_lock_file_is_held_by_one_and_gone_afterwards(tmp_path):
    path = tmp_path / ".lock"
    with locks.lock_file(path, note=b"mine") as held:
        assert held is not None and path.read_bytes() == b"mine"
        with pytest.raises(locks.Busy), locks.lock_file(path):
            pass
    assert names(tmp_path) == []
    path.write_text("of somebody else")
    with locks.lock_file(path, note=b"mine"):
        pass
    assert path.read_text() == "of somebody else"


def test_a_lock_file_that_its_holder_removes_while_another_opens_it_is_not_held_by_both(tmp_path, monkeypatch):
    path, real, first = tmp_path / ".lock", os.open, locks.lock_file(tmp_path / ".lock")
    first.__enter__()
    second_file = real(path, os.O_RDWR)  # opened before the first lets go
    first.__exit__(None, None, None)
    opened = iter([second_file])
    monkeypatch.setattr(os, "open", lambda *arguments: next(opened, None) or real(*arguments))
    with locks.lock_file(path):
        monkeypatch.undo()
        with pytest.raises(locks.Busy), locks.lock_file(path):
            pass
