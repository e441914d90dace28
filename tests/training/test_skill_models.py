"""Folders of models: who may write to one, and files that are in several of them."""

import errno
import os

import pytest
from run_kit import DEBUG

from entry.start import launch
from training import checkpoint
from training.skill_models import claim, link_model, model_path, turns
from utils.errors import UserError
from utils.locks import lock_file


def refuse_links(*_, **__):
    raise OSError(errno.EPERM, "no links here")


@pytest.fixture
def config(settings, tmp_path):
    """``config(*words)``: a small run in a maze whose models go to a folder of the test's."""

    def made(*words):
        small = ("env=DoorMaze", "traj_len=10", "turn_iters=1", "epochs=1", "use_tb=false")
        return settings("rest", *DEBUG, f"snapshot_base_dir={tmp_path / 'models'}", *small, *words)

    return made


def test_two_runs_cannot_write_to_one_folder_at_once(tmp_path):
    folder = tmp_path / "models" / "T"
    with claim(folder, fresh=True):
        with pytest.raises(UserError) as refused, claim(folder, fresh=True):
            pass
        assert str(folder) in str(refused.value) and "timestamp=T_2" in str(refused.value)
        with lock_file(folder / "other"):  # it is one file's lock, not the folder's
            pass
    assert not (tmp_path / "models").exists()  # no models came
    with claim(folder, fresh=True):
        pass


def test_a_new_run_does_not_mix_its_models_with_those_of_another(config, tmp_path):
    first = launch(config("timestamp=T"), tmp_path / "one", "rest")
    content = model_path(first.models / "0/2/0", 1).read_bytes()
    (tmp_path / "models" / "T_2").mkdir()
    with pytest.raises(UserError) as refused:
        launch(config("timestamp=T", "seed=2"), tmp_path / "two", "rest")
    assert str(first.models) in str(refused.value) and "timestamp=T_3" in str(refused.value)
    assert not list((tmp_path / "two").glob("*")) and model_path(first.models / "0/2/0", 1).read_bytes() == content
    launch(config("timestamp=T_3", "seed=2"), tmp_path / "two", "rest")
    launch(config("timestamp=T", "epochs=2"), tmp_path / "one", "rest", resume=True)  # its own


def test_models_of_another_run_are_not_linked(config, tmp_path):
    """Whoever has put them there meanwhile: a folder holds the skills of one run."""
    run = launch(config(), tmp_path / "run", "rest")
    foreign = launch(config("timestamp=other", "seed=2"), tmp_path / "other", "rest")
    before, after = run.models / "0/1/0", run.models / "0/2/0"
    os.replace(model_path(foreign.models / "0/1/0", 0), model_path(before, 0))
    model_path(after, 0).unlink()
    run.save_models(2)
    found = checkpoint.load(model_path(after, 0), "snapshot")
    assert found["run_id"] == run.origin.run_id and not os.path.samefile(model_path(before, 0), model_path(after, 0))


def test_skill_0_comes_last_so_that_a_folder_that_counts_is_whole(config, tmp_path, monkeypatch):
    seen = []
    publish = checkpoint.publish

    def look(path, content):
        there = [turn.path for turn in turns(path.parents[3])]
        seen.append([len(list(folder.iterdir())) for folder in there])
        return publish(path, content)

    monkeypatch.setattr(checkpoint, "publish", look)
    launch(config("method=diayn"), tmp_path / "run", "rest")  # writes every file anew
    assert seen and all(count == 3 for counts in seen for count in counts)


def test_without_links_a_copy_appears_whole(tmp_path, monkeypatch):
    old, new = tmp_path / "old.pt", tmp_path / "deep" / "new.pt"
    old.write_bytes(b"weights")
    monkeypatch.setattr(os, "link", refuse_links)

    def broken(source, target):
        open(target, "wb").close()
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as full:
        full.setattr("training.skill_models.shutil.copyfile", broken)
        with pytest.raises(OSError, match="full"):
            link_model(old, new)
    assert list(new.parent.iterdir()) == []
    assert link_model(old, new) and new.read_bytes() == b"weights" and not os.path.samefile(old, new)
    assert not link_model(old, new)  # another file by now: left alone
