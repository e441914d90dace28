"""What all scripts have in common: device=, hydra.run.dir=, resume= and --help, one table for all of them."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from dataset_kit import exorl_noise
from snapshot_kit import made_by

from entry.cli import check_overrides
from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from entry.unknown_key import groups
from utils.advice import override
from utils.config import configs_of, flatten, get
from utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
DREAMER = ("preset=debug", "evaluate=false", "save_video=false")
FEW = {
    # what makes 2 agent steps or a cycle, where latest looks for runs, and the key of a longer run
    "pretrain": ((*DREAMER, "num_train_frames=4", "snapshots=[]"), "exp_local/day/run", "num_train_frames=6"),
    "finetune": ((*DREAMER, "num_train_frames=4", "snapshot_ts=0"), "exp_local/day/run", "num_train_frames=6"),
    "drq": (
        ("preset=debug", "save_video=false", "num_skills=0", "num_train_steps=2", "num_seed_steps=2"),
        "runs/cartpole_swingup/run",
        "num_train_steps=3",
    ),
    "offline_train": (
        ("preset=debug", "dataset_dir=data", "num_train_updates=2"),
        "exp_local/offline/run",
        "num_train_updates=3",
    ),
    "rest": (("preset=debug", "epochs=1"), "exp_local/rest/run", "epochs=2"),
}


def call(monkeypatch, capfd, script, *words):
    """Exit status and all that was printed by ``python <script> <words>``, in this process."""
    file = str(ROOT / SCRIPTS[script].file)
    monkeypatch.setattr(sys, "argv", [file, *words])
    capfd.readouterr()
    status: object = 0
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        status = end.code
    return status, "".join(capfd.readouterr())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(path for path in folder.rglob("*"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_run_begins_in_its_folder_and_goes_on_however_it_is_named(script, here, monkeypatch, capfd):
    few, folder, longer = FEW[script]
    exorl_noise(here / "data")
    status, said = call(monkeypatch, capfd, script, *few, "device=cpu", f"hydra.run.dir={folder}")
    assert status == 0 and str(here / folder) in said
    assert (here / folder / "checkpoint.pt").is_file()
    named = (["resume=latest", longer], [f"resume={folder}"], ["resume=auto", f"hydra.run.dir={folder}"])
    for words in named:
        status, said = call(monkeypatch, capfd, script, *words, "device=auto")
        assert status == 0 and str(here / folder) in said, words
        assert ("is finished" in said) == (longer not in words), said
    status, said = call(monkeypatch, capfd, script, *few, f"hydra.run.dir={folder}")
    assert f"resume={here / folder}" in str(status)
    before = files(here)
    for resume in ("latest", folder):
        status, said = call(monkeypatch, capfd, script, f"resume={resume}", "hydra.run.dir=other")
        assert f"resume={resume}" in str(status) and "hydra.run.dir=other" in str(status)
    assert files(here) == before


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("words", [["resume=latest"], ["resume=nowhere"], ["resume=auto"]], ids=" ".join)
def test_a_run_that_is_not_there_is_not_resumed(script, words, here, monkeypatch, capfd):
    status, _ = call(monkeypatch, capfd, script, *words)
    assert words[0] in str(status) and files(here) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_device_that_is_not_there_is_refused(script, here, monkeypatch, capfd):
    status, _ = call(monkeypatch, capfd, script, *FEW[script][0], "device=cuda")
    assert "device=cuda" in str(status) and "device=cpu" in str(status) and files(here) == []


@pytest.mark.parametrize("words", [("--cfg", "all", "--resolve"), ("--cfg", "hydra", "--resolve"), ("--info", "all")])
def test_a_configuration_that_is_only_shown_makes_no_folder(words, here, monkeypatch, capfd):
    call(monkeypatch, capfd, "pretrain", *words, "preset=debug")
    assert files(here) == []


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_what_the_script_takes_and_nothing_else(script, flag, here, monkeypatch, capfd, settings):
    status, said = call(monkeypatch, capfd, script, flag)
    assert status == 0 and files(here) == []
    assert len(re.findall(rf"^python {SCRIPTS[script].file} ", said, re.MULTILINE)) >= 3
    own = [name for name in groups(script) if "_preset" not in name]  # those that are taken where there are any
    assert re.findall(r"^(\w+)=\w+$", said, re.MULTILINE) == own
    for group in own:
        for path in (configs_of(script) / group).glob("*.yaml"):
            assert re.search(rf"^  {path.stem} ", said, re.MULTILINE), f"{group}={path.stem}"
    keys = {line.partition(":")[0] for line in said.splitlines() if re.match(r"[a-z_]+:( |$)", line)}
    assert keys == set(settings(script))


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_help_advertises_is_accepted(script, here, monkeypatch, capfd):
    """Every key of the help, with the value that it has, and every option of its groups."""
    _, said = call(monkeypatch, capfd, script, "--help")
    listed, _, rest = said.partition("\n== keys")
    shown = yaml.safe_load(rest.partition("\n\n")[2].partition("\n== of Hydra")[0])
    base = ["snapshot_ts=0"] if script == "finetune" else []
    plain = composed(script, base)
    leaves = [key for key in flatten(shown) if not isinstance(get(shown, key), dict)]
    assert len(leaves) > 50
    words = [shlex.split(override(key, get(plain, key)))[0] for key in leaves if key != "snapshot_ts"]
    assert settings_of(script, composed(script, [*base, *words])) == settings_of(script, plain)
    for group in groups(script):
        options = re.search(rf"^{group}=.*\n((?:  .*\n)*)", listed, re.MULTILINE)
        for option in re.findall(r"^  (\w+)", options[1], re.MULTILINE) if options else ():
            check_overrides(script, [f"{group}={option}"])
    for line in re.findall(rf"^python {SCRIPTS[script].file} (.*=.*)$", said, re.MULTILINE):
        if "[" not in line and "resume" not in line:
            for name in re.findall(r"snapshot=(\S+)", line):
                made_by(here / name, "pretrain", "preset=debug", "domain=walker")
            check_overrides(script, line.split())


def test_help_shows_the_agent_that_is_asked_for(here, monkeypatch, capfd):
    status, said = call(monkeypatch, capfd, "pretrain", "agent=icm_dreamer", "--help")
    assert status == 0 and re.search(r"^  icm_hidden: .*1536", said, re.MULTILINE)
    status, _ = call(monkeypatch, capfd, "pretrain", "agent=dreemer", "--help")
    assert "agent=dreemer" in str(status)


def test_the_scripts_know_their_own_folders_and_files():
    for script, entry in SCRIPTS.items():
        path, name = re.findall(r'config_path="(\S+)", config_name="(\S+)"', (ROOT / entry.file).read_text())[0]
        assert (ROOT / path, name) == (configs_of(script), script)


@pytest.mark.parametrize("words", [["--config-dir", "my"], ["--config-dir=my"], ["-cd", "my"], None], ids=str)
def test_an_agent_in_a_folder_of_the_users_own(words, here, monkeypatch, capfd):
    (here / "my" / "agent").mkdir(parents=True)
    (here / "my" / "agent" / "mine.yaml").write_text("defaults: [icm_dreamer]\nname: mine\nicm_hidden: 77\n")
    words = words or [f"hydra.searchpath=[file://{here / 'my'}]"]
    status, said = call(
        monkeypatch, capfd, "pretrain", *words, "agent=mine", "agent.icm_scale=2", "preset=small", "--cfg", "job"
    )
    assert status == 0 and "icm_hidden: 77" in said and "icm_scale: 2" in said, said
    for agent, key, near in (("mime", "agent=mime", "agent=mine"), ("mine", "agent.icm_scal", "agent.icm_scale")):
        with pytest.raises(UserError) as refused:
            check_overrides("pretrain", [*words, f"agent={agent}", "agent.icm_scal=2"])
        assert key in str(refused.value) and near in str(refused.value)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("file", ["quickstart.py", "doctor.py"])
def test_help_of_the_others_starts_nothing(file, flag, here):
    done = subprocess.run(
        [sys.executable, str(ROOT / file), flag], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count(f"python {file}") and "==" not in done.stdout and "checks in" not in done.stdout
    assert files(here) == [] and done.stderr == ""
