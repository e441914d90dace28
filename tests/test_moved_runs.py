"""Runs whose folders are unusual, are moved, or cannot be written to any more: each goes on with what is advised."""

import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from advice_kit import advised
from omegaconf import OmegaConf
from sweep_kit import sweep

from entry.scripts import SCRIPTS
from utils.advice import ROOT, override

NASTY = "it's a=b,c ${d} ü"
FEW = {
    "pretrain": ["preset=debug", "evaluate=false", "num_train_frames=4", "snapshots=[4]"],
    "finetune": ["preset=debug", "evaluate=false", "num_train_frames=4", "snapshot_ts=0", "snapshots=[]"],
    "drq": ["preset=debug", "num_skills=0", "num_train_steps=2", "num_seed_steps=2", "eval_frequency=100"],
}
LONGER = {"pretrain": "num_train_frames=8", "finetune": "num_train_frames=8", "drq": "num_train_steps=4"}


@pytest.fixture
def call(monkeypatch, capfd):
    """``call("pretrain", ...)`` -> exit status and everything printed, in this process."""

    def run(script, *words):
        file = str(ROOT / SCRIPTS[script].file)
        monkeypatch.setattr(sys, "argv", [file, *words])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, f"{status if isinstance(status, str) else ''}{''.join(capfd.readouterr())}"

    return lambda script, *words: run(script, *words, *([] if "resume" in str(words) else ["save_video=false"]))


@pytest.mark.parametrize("script", sweep(SCRIPTS, ("pretrain", "drq")))
def test_the_advised_words_go_on_in_any_folder(script, call, tmp_path, monkeypatch):
    (tmp_path / NASTY).mkdir()
    monkeypatch.chdir(tmp_path / NASTY)
    words = [*FEW[script], "device=cpu", shlex.split(override("hydra.run.dir", f"{NASTY}/run"))[0]]
    assert call(script, *words)[0] == 0
    status, said = call(script, *words)
    assert status != 0
    [resume] = set(advised(said, "resume"))
    folder = tmp_path / NASTY / NASTY / "run"
    status, said = call(script, resume, LONGER[script], "device=auto")
    assert status == 0 and str(folder) in said and "continuing at frame" in said
    other = "drq" if script != "drq" else "pretrain"
    status, said = call(other, resume)
    assert SCRIPTS[script].file in said and resume in advised(said, "resume")
    command = shlex.split(said.rpartition(": ")[2])
    assert command[-1] == resume and Path(command[-2]).samefile(ROOT / SCRIPTS[script].file)


def test_a_moved_run_takes_along_what_lies_beside_it(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*FEW["pretrain"], "device=cpu", "snapshot_base_dir=lab/snaps", "hydra.run.dir=lab/run"]
    assert call("pretrain", *words, "hydra.job.chdir=true")[0] == 0
    snapshot = "pixels/walker/dreamer/1/snapshot_4.pt"
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("snapshot_*")] == [Path("lab/snaps", snapshot)]
    shutil.move(tmp_path / "lab", tmp_path / "new")
    (tmp_path / "lab").write_text("")  # what was written there before would fail now
    monkeypatch.chdir("/")
    status, said = call("pretrain", f"resume={tmp_path}/new/run", "num_train_frames=8")
    assert status == 0 and "continuing at frame 4" in said, said


@pytest.mark.parametrize(
    ("script", "key"), [("pretrain", "snapshot_base_dir"), ("pretrain", "snapshot_dir"), ("drq", "snapshot_base_dir")]
)
def test_output_folders_may_be_given_anew(script, key, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = [word for word in FEW[script] if not word.startswith("snapshots")]
    status, said = call(script, *few, "device=cpu", "seed=3", "snapshots=[8]", "hydra.run.dir=run")
    assert status == 0, said
    path = tmp_path / "run" / "config.yaml"
    stored = OmegaConf.load(path)
    base = stored.snapshot_base_dir
    for name in ("snapshot_base_dir", "snapshot_dir"):
        stored[name] = stored[name] and f"/dev/null{tmp_path}{str(stored[name]).removeprefix(base)}"
    OmegaConf.save(stored, path)
    status, said = call(script, "resume=run", LONGER[script])
    assert "snapshot_dir=/dev/null" in str(status), said
    status, said = call(script, "resume=run", LONGER[script], f"{key}=anew", "hydra.job.chdir=true")
    assert status == 0, said
    found = (
        "anew"
        if key == "snapshot_dir"
        else f"anew/pixels/{'walker/dreamer' if script == 'pretrain' else 'cartpole/drq'}/3"
    )
    assert (script == "drq") or (tmp_path / found / "snapshot_8.pt").is_file()
    assert str(OmegaConf.load(path)[key]).endswith("anew")


def test_resume_and_folders_that_do_not_go_together(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOLDER", "run")
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("phase: pretrain\n")
    (tmp_path / "mine.yaml").write_text("defaults: [pretrain, _self_]\nhydra: {run: {dir: other}}\n")
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ["resume=run", "hydra.run.dir=other"],
        ["resume=run", "++hydra.run.dir=${seed}"],
        ["resume=${oc.env:FOLDER}", "hydra.run.dir=other"],
        ["resume=latest", "hydra.run.dir=run"],
        ["--config-dir", ".", "--config-name", "mine", "resume=run"],
    ):
        status, said = call("pretrain", *words)
        assert "hydra.run.dir=" in str(status) and "resume=" in str(status), said
    for words in (["-m", "resume=run", "seed=1,2"], ["-m", "resume=latest"], ["-m", "resume=auto"], ["resume=auto"]):
        status, said = call("pretrain", *words)
        assert words[1 if "-m" in words else 0] in str(status), said
    assert sorted(tmp_path.rglob("*")) == before


def test_the_home_directory_in_every_folder(call, tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    few = [*FEW["pretrain"], "device=cpu"]
    status, said = call("pretrain", *few, "hydra.run.dir='~/run'", "snapshot_base_dir='~/snaps'")
    assert status == 0, said
    snapshots = "~/snaps/pixels/walker/dreamer/1"
    assert (
        Path(snapshots.replace("~", str(home)), "snapshot_4.pt").is_file() and (home / "run" / "config.yaml").is_file()
    )
    for word in ("resume=~/run", "resume='~/run'"):
        assert "is finished" in call("pretrain", word)[1]
    tune = [word for word in FEW["finetune"] if not word.startswith("snapshot_ts")]
    words = [
        "snapshot_ts=4",
        "num_seed_frames=4",
        f"custom_snap_dir='{snapshots}'",
        "hydra.run.dir=~/tuned",
        "device=cpu",
    ]
    status, said = call("finetune", *tune, *words)
    assert status == 0 and (home / "tuned" / "config.yaml").is_file(), said
    assert (
        call(
            "pretrain",
            "-m",
            *few,
            "snapshot_base_dir=~/snaps",
            "seed=2",
            "hydra.sweep.dir='~/sweep'",
            "hydra.sweep.subdir=a",
        )[0]
        == 0
    )
    assert (home / "sweep" / "a" / "config.yaml").is_file() and list(here.iterdir()) == []
