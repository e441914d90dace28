"""Folders are removed only if they are empty and this process made them."""

import pytest

from utils import folders
from utils.folders import remove_empty, will_make


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch):
    monkeypatch.setattr(folders, "_made", set())


def test_only_what_this_process_made_and_only_while_it_is_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs/empty").mkdir(parents=True)
    for run in ("theirs/empty", "theirs/empty/new/run", "other/../other/run"):
        will_make(tmp_path / run)
        (tmp_path / run).mkdir(parents=True, exist_ok=True)
        remove_empty(tmp_path / run)
        assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["theirs", "empty"]
    will_make(tmp_path / "day/run")
    (tmp_path / "day/run").mkdir(parents=True)
    (tmp_path / "day/notes").write_text("mine")
    remove_empty(tmp_path / "day/run")
    assert [path.name for path in (tmp_path / "day").iterdir()] == ["notes"]


def test_a_folder_below_one_that_was_not_there_is_of_this_process(tmp_path):
    will_make(tmp_path / "sweep")
    (tmp_path / "sweep/0").mkdir(parents=True)
    remove_empty(tmp_path / "sweep/0")
    assert list(tmp_path.iterdir()) == []
