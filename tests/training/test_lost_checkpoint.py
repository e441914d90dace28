"""A run whose checkpoint was removed: it does not start over what it has made."""

import os
import shutil

import pytest
from folder_kit import refusal
from old_kit import put_settings, unpack
from settings_kit import compose_settings

from entry.start import launch
from entry.stored import read_config, stored_settings
from training.lost import CHECKPOINTED, note_checkpoint
from training.run import CHECKPOINT
from utils.config import CONFIG_FILE

TINY = {
    "pretrain": ("preset=debug", "device=cpu", "evaluate=false", "num_train_frames=4", "save_video=false"),
    "drq": ("preset=debug", "device=cpu", "num_skills=0", "num_train_steps=2", "num_seed_steps=2", "save_video=false"),
}


def refused(folder, script):
    """What the run has made, as it says; nothing was touched."""
    with refusal(folder) as caught:
        go_on(folder, script)
    said = str(caught.value)
    assert str(folder / CHECKPOINT) in said
    return said.rpartition(" or move ")[2].partition(" out of ")[0].split(", ")


def go_on(folder, script):
    return launch(stored_settings(folder, compose_settings(script)), folder, script, resume=True)


@pytest.mark.parametrize("script", TINY)
def test_a_run_that_has_had_one_keeps_what_it_has_until_that_is_moved_away(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    launch(compose_settings(script, *TINY[script]), folder, script)
    assert read_config(folder)[CHECKPOINTED] is True
    (folder / CHECKPOINT).unlink()
    made = refused(folder, script)
    assert "replay" in made
    for name in made:
        (folder / name).rename(tmp_path / name)
    assert go_on(folder, script).clock.over
    (folder / CHECKPOINT).unlink()
    assert refused(folder, script) == made
    put_settings(folder, **{CHECKPOINTED: False})  # as if it had been killed before the first one
    assert go_on(folder, script).clock.over and read_config(folder)[CHECKPOINTED] is True


@pytest.mark.parametrize("script", ["pretrain", "finetune", "drq"])
def test_runs_of_earlier_versions_do_not_say_and_keep_what_they_have(script, tmp_path, tmp_path_factory):
    folder = shutil.copytree(unpack(tmp_path_factory.mktemp("old")) / script, tmp_path / "run")
    assert CHECKPOINTED not in read_config(folder)
    (folder / CHECKPOINT).unlink()
    assert {"replay", "train.csv"} <= set(refused(folder, script))


def test_the_note_leaves_the_rest_and_the_time_by_which_the_latest_is_told(tmp_path):
    path = tmp_path / CONFIG_FILE
    path.write_text(f"seed: 1\nexperiment: ${{x}}\n{CHECKPOINTED}: false\n")
    os.utime(path, (1, 2))
    assert note_checkpoint(tmp_path)
    assert path.read_text() == f"seed: 1\nexperiment: ${{x}}\n{CHECKPOINTED}: true\n" and path.stat().st_mtime == 2
    for damaged in (b"\xff", b"- 1\n"):
        path.write_bytes(damaged)
        assert not note_checkpoint(tmp_path) and path.read_bytes() == damaged
