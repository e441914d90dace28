"""Paths among the settings: where the user meant them, and stored such that a run can move."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from entry.folders import with_home
from entry.places import absolute, follow_base, located, portable

RUN = Path("/lab/exp/run")


def test_paths_are_as_seen_from_the_start_and_know_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = {
        "snapshot_dir": "~/a",
        "snapshot_base_dir": "b",
        "custom_snap_dir": "../c",
        "snapshot": None,
        "task": "~/x",
    }
    found = absolute(asked, Path("/start/here"))
    assert found == {
        "snapshot_dir": f"{tmp_path}/a",
        "snapshot_base_dir": "/start/here/b",
        "custom_snap_dir": "/start/c",
        "snapshot": None,
        "task": "~/x",
    }


def test_the_home_directory_of_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_home(["resume=~/a", "hydra.run.dir=~", "+snapshot=~/b/${seed}"]) == [
        f"resume={tmp_path}/a",
        f"hydra.run.dir={tmp_path}",
        f"+snapshot={tmp_path}/b/${{seed}}",
    ]
    kept = ["~agent", "project_name='a=~/b'", "resume='~/a'", "snapshots=[1]", "a=b~/c", "--config-dir", "~/c"]
    assert with_home(kept) == kept


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("/lab/exp/run/models", "./models"),
        ("/lab/exp/run", "./."),
        ("/lab/exp/snaps/1", "../snaps/1"),
        ("/lab/exp", ".."),
        ("/lab/other", "/lab/other"),
        ("/lab/exp2/run", "/lab/exp2/run"),
        ("relative", "relative"),
    ],
)
def test_what_lies_in_a_run_or_beside_it_moves_along(path, stored):
    kept = portable({"snapshot_dir": path, "seed": 1}, RUN)
    assert kept == {"snapshot_dir": stored, "seed": 1}
    assert located(kept, RUN)["snapshot_dir"] == path
    moved = located(kept, Path("/new/place"))["snapshot_dir"]
    assert moved == (path.replace("/lab/exp/run", "/new/place").replace("/lab/exp", "/new") if stored != path else path)


def test_snapshots_follow_their_base():
    settings = {"snapshot_base_dir": "/new", "snapshot_dir": "/old/pixels/walker/1"}
    follow_base(settings, "/old")
    assert settings["snapshot_dir"] == "/new/pixels/walker/1"
    for elsewhere in ("/elsewhere/1", None):
        settings["snapshot_dir"] = elsewhere
        follow_base(settings, "/old")
        assert settings["snapshot_dir"] == elsewhere


def test_the_former_form_is_read(tmp_path):
    """Absolute paths, and relative ones of runs that were not started by a script."""
    stored = OmegaConf.to_container(OmegaConf.create({"snapshot_dir": "/lab/exp/snaps", "snapshot_base_dir": "models"}))
    assert located(stored, tmp_path) == stored
