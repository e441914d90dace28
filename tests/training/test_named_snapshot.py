"""A snapshot named by its path: what else lies there is said, and what is near it listed."""

import os
import shlex

import pytest
from contents_kit import resumable, write_snapshot

from training import checkpoint
from training.named_snapshot import read_named
from utils.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(path):
    with pytest.raises(UserError) as caught:
        read_named(path, "snapshot")
    first, *listed = str(caught.value).splitlines()
    return first, [shlex.split(line)[0] for line in listed]


def test_one_that_is_there(here, monkeypatch):
    write_snapshot(here / "a.pt")
    monkeypatch.setenv("HOME", str(here))
    assert read_named("a.pt")["agent"] == read_named("~/a.pt")["agent"] == "dreamer"


def test_a_missing_one_is_answered_with_those_near_it(here, tmp_path):
    first, listed = refused("gone.pt")
    assert f"snapshot={here}/gone.pt" in first and listed == []
    run = tmp_path / "runs of a lab" / "one"
    wanted = [run / "snapshot_2000.pt", run / "snapshot_10000.pt", run / "models" / "model_5.pt"]
    published = here / "pretrained_models/pixels/walker/dreamer/1/snapshot_7.pt"
    for path in (*wanted, published, tmp_path / "snapshot_1.pt"):
        write_snapshot(path)
    expected = [f"snapshot='{path}'" for path in wanted] + [f"snapshot={published}"]
    assert refused(run / "snapshot_1.pt")[1] == expected
    assert refused(run)[1] == expected and "a folder" in refused(run)[0]
    assert refused("gone/gone.pt")[1] == [f"snapshot={published}"]


def test_few_of_many_are_listed(here):
    for frames in range(12):
        write_snapshot(here / f"snapshot_{frames}.pt")
    with pytest.raises(UserError) as caught:
        read_named("gone.pt", "snapshot")
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 9 and "snapshot_7.pt" in lines[-2] and "snapshot_" not in lines[-1]


def test_a_checkpoint_is_told_from_a_snapshot(here):
    checkpoint.save(here / "run" / "checkpoint.pt", "checkpoint", resumable())
    write_snapshot(here / "run" / "finetuned_snapshot.pt")
    first, listed = refused("run/checkpoint.pt")
    assert "checkpoint" in first and f"resume={here}/run" in first
    assert listed == [f"snapshot={here}/run/finetuned_snapshot.pt"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: path.write_text("")])
def test_what_is_no_file_or_no_snapshot(here, make):
    make(here / "odd.pt")
    assert str(here / "odd.pt") in refused("odd.pt")[0]
