"""What lies where a file is to go is kept: with locks, without, whatever it is."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils import aside
from utils.aside import put_keeping

NAME = "snapshot_10.pt"


@pytest.fixture(params=["locks", "no locks", "no links", "neither", "held", "unreadable"])
def disk(request, tmp_path, monkeypatch):
    """A folder on disks of all kinds, and with somebody who holds on to the lock."""

    def refused(*arguments, **named):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param in ("no locks", "neither"):
        monkeypatch.setattr("utils.locks.lock", lambda descriptor: False)
    if request.param in ("no links", "neither"):
        monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(aside, "PATIENCE", 30.0)
    if request.param == "held":
        monkeypatch.setattr(aside, "PATIENCE", 0.0)
        with aside.lock_file(tmp_path / f".{NAME}.lock"):
            yield tmp_path
            return
    if request.param == "unreadable":
        (tmp_path / f".{NAME}.lock").mkdir()
    yield tmp_path


def put(folder, text, ours=()):
    temporary = folder / f"tmp_{text}"
    temporary.write_text(text)
    return put_keeping(temporary, folder / NAME, lambda path: path.is_file() and path.read_text() in ours)


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix == ".pt"}


def test_what_is_there_is_kept_and_the_new_file_has_the_name(disk):
    assert put(disk, "first") is None
    assert put(disk, "second").name == f"previous_1_{NAME}"
    assert put(disk, "third").name == f"previous_2_{NAME}"
    assert texts(disk) == {NAME: "third", f"previous_1_{NAME}": "first", f"previous_2_{NAME}": "second"}


def test_a_taken_name_is_not_taken_again(disk):
    (disk / f"previous_1_{NAME}").write_text("mine")
    put(disk, "first")
    put(disk, "second")
    assert texts(disk) == {NAME: "second", f"previous_1_{NAME}": "mine", f"previous_2_{NAME}": "first"}


def test_a_folder_there_is_kept_with_its_content(disk):
    (disk / NAME).mkdir()
    (disk / NAME / "notes").write_text("mine")
    kept = put(disk, "first")
    assert (kept / "notes").read_text() == "mine" and texts(disk) == {NAME: "first"}


def test_a_link_there_is_kept_and_what_it_leads_to(disk):
    (disk / "elsewhere").write_text("mine")
    for target in ("elsewhere", "nowhere"):
        (disk / NAME).symlink_to(target)
        kept = put(disk, "first")
        assert kept.is_symlink() and os.readlink(kept) == target
        (disk / NAME).unlink()
    assert (disk / "elsewhere").read_text() == "mine"


def test_many_at_once_lose_nothing(disk, request):
    if request.node.callspec.params["disk"] == "neither":
        pytest.skip("a disk without both has no step that cannot replace a file")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: put(disk, str(number)), range(24)))
    assert sorted(texts(disk).values(), key=int) == [str(number) for number in range(24)]


def test_what_is_ours_is_replaced_where_that_can_be_done_in_one_step(tmp_path, monkeypatch):
    put(tmp_path, "first")
    assert put(tmp_path, "second", ours=["first"]) is None
    assert texts(tmp_path) == {NAME: "second"} and list(tmp_path.iterdir()) == [tmp_path / NAME]
    monkeypatch.setattr("utils.locks.lock", lambda descriptor: False)
    assert put(tmp_path, "third", ours=["second"]).name == f"previous_1_{NAME}"


def test_killed_between_the_two_steps_the_file_is_there_and_is_kept_once(tmp_path, monkeypatch):
    put(tmp_path, "first")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        put(tmp_path, "second")
    assert texts(tmp_path) == {NAME: "first", f"previous_1_{NAME}": "first"}
    put(tmp_path, "third")
    assert texts(tmp_path) == {NAME: "third", f"previous_1_{NAME}": "first"}
