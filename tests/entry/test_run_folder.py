"""What may become a run folder; what else lies in one is named, and nothing in it is touched."""

import runpy
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from entry.lock import NOTE, FolderLock
from entry.run_folder import BeforeHydra, refuse_foreign
from entry.scripts import SCRIPTS
from entry.start import launch
from utils import folders
from utils.config import configs_of
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BASE = ("preset=debug", "device=cpu", "progress=false")
REFUSED = "batch_size=-1"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_made", set())
    work = tmp_path / "place"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def content(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def call(monkeypatch, script, *words):
    """What ``python <script> <words>``, in this process, says when it ends."""
    file = str(ROOT / SCRIPTS[script].file)
    monkeypatch.setattr(sys, "argv", [file, *words, *BASE])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(file, run_name="__main__")
    return str(end.value.code)


FOREIGN = {
    "notes.txt": "notes.txt",
    "replay/notes.txt": "replay/",
    "replay/layout.json": "replay/",
    "replay/stream_0/segment_00000000.bin": "replay/",
    "checkpoint.pt": "checkpoint.pt",
    "train.csv": "train.csv",
    "config.yaml": "config.yaml",
    ".lock": ".lock",
    ".notes.12.tmp.txt": ".notes.12.tmp.txt",
    ".hydra/config.yaml": ".hydra/",
    "multirun.yaml": "multirun.yaml",
    "0/config.yaml": "0/",
    "wandb/run": "wandb/",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_with_anything_else_in_it_is_refused_by_name_and_stays_as_it_was(settings, here, name):
    path = here / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine: 1\n")
    before = content(here)
    with pytest.raises(UserError) as refused:
        launch(settings("pretrain", *BASE), here / "out", "pretrain")
    for part in ("hydra.run.dir", str(here / "out"), FOREIGN[name]):
        assert part in str(refused.value)
    assert content(here) == before


def test_settings_without_an_end_are_no_runs_and_told_at_once(here):
    lists = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20))
    (here / "config.yaml").write_text(f"agent: x\nseed: 1\na0: &a0 x\n{lists}")
    with pytest.raises(UserError, match=r"config\.yaml"):
        refuse_foreign(here)


@pytest.mark.parametrize("words", [[], ["hydra.output_subdir=.hydra", "hydra/job_logging=default"], ["resume=auto"]])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_folder_one_stands_in_is_refused_before_anything_is_written(script, words, here, monkeypatch):
    for number in range(9):
        (here / f"{number}.py").write_text("mine")
    before = content(here)
    said = call(monkeypatch, script, "hydra.run.dir=.", *words)
    for part in ("hydra.run.dir", str(here), "0.py", "4 more"):
        assert part in said
    assert content(here) == before


def test_the_folder_of_a_sweep_is_refused_and_so_is_that_of_a_job_with_files_in_it(here, monkeypatch):
    for name in ("sweep/multirun.yaml", "sweep/0/config.yaml", "jobs/1/notes"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("mine: 1\n")
    before = content(here)
    said = call(monkeypatch, "pretrain", "hydra.run.dir=sweep")
    assert all(part in said for part in (str(here / "sweep"), "0/", "multirun.yaml"))
    assert content(here) == before
    endless = ("num_train_frames=4000000000000", "replay.capacity=1000000000000")  # no disk is that large
    call(monkeypatch, "pretrain", "--multirun", "seed=1,2", "hydra.sweep.dir=jobs", *endless)
    assert (here / "jobs/1/notes").read_text() == "mine: 1\n"
    ours = {"multirun.yaml", "sweep.csv", "0.json", "1.json"}
    assert {path.name for path in (here / "jobs").rglob("*") if path.is_file()} == {*ours, "notes"}


def test_hydra_does_not_write_over_the_configuration_of_a_run(here, monkeypatch):
    (here / "run").mkdir()
    (here / "run/config.yaml").write_text("agent: {name: dreamer}\nseed: 1\n")
    before = content(here)
    for word, folder in (("resume=run", "."), ("hydra.run.dir=run", "./"), ("hydra.run.dir=new", "a/..")):
        said = call(monkeypatch, "pretrain", word, f"hydra.output_subdir={folder}")
        assert f"hydra.output_subdir={folder}" in said and content(here) == before


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.run.dir=empty/run"],
        ["hydra.run.dir=new/deep/run"],
        ["hydra.run.dir=../place/empty"],
        [],
        ["--multirun", "hydra.sweep.dir=empty"],
    ],
    ids=" ".join,
)
def test_a_refused_run_removes_the_folders_it_made_and_no_empty_one_that_was_there(words, here, monkeypatch):
    (here / "empty").mkdir()
    call(monkeypatch, "pretrain", REFUSED, *words)
    assert (here / "empty").is_dir()
    left = [path for path in here.rglob("*") if path != here / "empty"]
    assert left == []


def test_a_folder_that_a_killed_or_refused_run_left_may_be_used(here, settings):
    folder = here / "run"
    refuse_foreign(folder)
    folder.mkdir()
    refuse_foreign(folder)
    for name, text in {
        ".lock": NOTE.decode(),
        "replay/layout.json": '{"record": {}}',
        "replay/.layout.somnia-0123456789abcdef.tmp.json": "half",
        ".config.somnia-0123456789abcdef.tmp.yaml": "half",
        "wandb/run-1/files": "log",
        "wandb_run_id": "abc",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    refuse_foreign(folder)
    with FolderLock(folder):
        refuse_foreign(folder)
    (folder / "replay/notes").write_text("mine")
    with pytest.raises(UserError, match="replay/"):
        refuse_foreign(folder)


@pytest.mark.parametrize("what", [FileNotFoundError, KeyboardInterrupt, UserError])
def test_a_run_that_does_not_get_as_far_as_its_log_leaves_nothing(settings, here, monkeypatch, what):
    def fails(*arguments, **named):
        raise what("no")

    monkeypatch.setattr("entry.start.Logger", fails)
    with pytest.raises(what):
        launch(settings("drq", *BASE, "num_skills=0"), here / "run", "drq")
    assert content(here) in ({}, {here / "run": None})


def test_a_folder_in_use_is_refused_and_one_that_cannot_be_locked_gets_a_note(here, monkeypatch):
    with FolderLock(here / "run") as lock:
        assert lock.notes == []
        with pytest.raises(UserError, match=f"hydra.run.dir={here / 'run'}"):
            FolderLock(here / "run").__enter__()
    assert content(here) == {here / "run": None}
    monkeypatch.setattr("utils.locks.lock", lambda descriptor: False)
    with FolderLock(here / "run") as lock:
        assert str(here / "run") in lock.notes[0]
    (here / "file").write_text("mine")
    with pytest.raises(UserError, match="hydra.run.dir="):
        FolderLock(here / "file/run").__enter__()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_hydra_ask_first(script):
    with initialize_config_dir(str(configs_of(script)), version_base="1.3"):
        callbacks = compose(script, return_hydra_config=True).hydra.callbacks
    assert f"{BeforeHydra.__module__}.{BeforeHydra.__name__}" in [each._target_ for each in callbacks.values()]
