"""A ``layout.json`` that is gone or is not the run's: nothing is lost by it."""

import os
from pathlib import Path

import pytest
from damage_kit import LENGTHS, SIZES, tree, written
from replay_feeder import Feeder, build, check_batch

from replay.damage import DamagedReplay
from utils.errors import UserError


def layout_gone(path: Path) -> None:
    path.unlink()


def layout_text(text: str):
    def write(path: Path) -> None:
        path.write_text(text)

    return write


def layout_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def layout_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def layout_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


UNREADABLE = [layout_gone, layout_folder, layout_pipe, layout_link]
UNREADABLE += [layout_text(text) for text in ("", "{", "[]", "{}", "null", '"record"', '{"record": 3}', "[" * 100_000)]
UNREADABLE += [layout_text('{"record": {}, "capacity": "many"}'), layout_text(" " * (1 << 21))]


@pytest.mark.parametrize("spoil", UNREADABLE)
@pytest.mark.parametrize("old", [False, True])
def test_a_layout_that_cannot_be_read_is_written_again(tmp_path, spoil, old: bool):
    state, feeder = written(tmp_path)
    path = tmp_path / "layout.json"
    content = path.read_text()
    spoil(path)
    spoilt = tree(tmp_path)
    if old:
        del state["layout"]
    again = build(tmp_path, **SIZES)
    with pytest.raises(UserError, match="already holds a replay"):
        feeder.feed(again, 1)
    assert tree(tmp_path) == spoilt
    said: list[str] = []
    again.load_state_dict(state, say=said.append)
    assert path.read_text() == content and any("layout.json" in line for line in said)
    assert tree(tmp_path).get("layout.json.aside") == spoilt.get("layout.json")
    feeder.feed(again, 50)
    check_batch(again.sample(), 4, 8)


def test_a_layout_of_other_settings_is_not_written_over(tmp_path):
    """Only what the checkpoint knows proves that a readable one is not the run's."""
    state, _ = written(tmp_path)
    build(tmp_path / "other", capacity=1024, num_envs=2)
    (tmp_path / "other" / "layout.json").replace(tmp_path / "layout.json")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"stored 1024, now 512") as caught:
        build(tmp_path, **SIZES)
    assert "delete" not in str(caught.value) and "move it away" in str(caught.value)
    assert tree(tmp_path) == before
    (tmp_path / "layout.json").rename(tmp_path / "moved")  # what the message says
    build(tmp_path, **SIZES).load_state_dict(state)


def test_a_missing_layout_is_not_made_up(tmp_path):
    """With other settings than the records were written with, the checkpoint or the files' sizes say so."""
    state, _ = written(tmp_path)
    (tmp_path / "layout.json").unlink()
    before, other = tree(tmp_path), build(tmp_path, capacity=1024, num_envs=2)
    with pytest.raises(UserError, match=r"replay\.capacity: stored 512, now 1024"):
        other.load_state_dict(state)
    for known in (3, {}, {"record": []}):
        with pytest.raises(UserError, match="layout"):
            other.load_state_dict({**state, "layout": known})
    del state["layout"]
    for stream in state["streams"]:
        del stream["checksums"]
    with pytest.raises(DamagedReplay):
        build(tmp_path, capacity=1024, num_envs=2).load_state_dict(state)
    assert tree(tmp_path) == before


def test_starting_over_without_a_layout(tmp_path):
    written(tmp_path)
    content = (tmp_path / "layout.json").read_text()
    (tmp_path / "layout.json").unlink()
    again = build(tmp_path, **SIZES)
    again.clear()
    assert (tmp_path / "layout.json").read_text() == content
    Feeder(LENGTHS, 2).feed(again, 40)
    build(tmp_path, **SIZES).load_state_dict(again.state_dict())
