"""What a fourth script takes: its YAML, its file, and one row of the table."""

import subprocess
import sys
from pathlib import Path

import pytest

from entry.scripts import SCRIPTS
from entry.settings import settings_of
from entry.start import launch
from training import layouts
from training.checkpoint import load
from training.kinds import dreamer_run
from training.settings import PretrainKeys
from utils.errors import UserError
from utils.rules import Count

ROOT = Path(__file__).resolve().parents[2]

YAML = """\
defaults:
  - pretrain
  - _self_
num_toys: 3   # of the shelf
"""

ENTRY = """\
import hydra

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path={folder!r}, config_name="toy")
@job_errors
def main(config):
    from entry.start import start

    start(config, "toy")
"""


class ToyKeys(PretrainKeys):
    num_toys: Count


ROW = SCRIPTS["pretrain"]._replace(
    file="toy_train.py", keys=ToyKeys, layout=layouts.DREAMER, run=dreamer_run, folders=("toys", "toys_sweep")
)


@pytest.fixture
def config(tmp_path, monkeypatch, settings):
    """What the toy's YAML composes to, with its row in the table."""
    monkeypatch.setitem(SCRIPTS, "toy", ROW)
    monkeypatch.chdir(tmp_path)
    return settings(
        "pretrain", "preset=debug", "device=cpu", "progress=false", "evaluate=false", "num_train_frames=1010"
    ) | {"num_toys": 3}


def test_its_settings_are_read_and_refused_as_those_of_the_others(config):
    assert settings_of("toy", config).num_toys == 3
    with pytest.raises(UserError) as refused:
        settings_of("toy", config | {"num_toys": 0})
    assert "num_toys=0" in str(refused.value)


def test_its_runs_are_made_saved_and_resumed(config, tmp_path):
    launch(config, tmp_path / "run", "toy")
    content = load(tmp_path / "run" / "checkpoint.pt", "checkpoint")
    assert content["config"]["phase"] == "toy" and content["config"]["num_toys"] == 3 and content["phase"] == "pretrain"
    longer = launch(config | {"num_train_frames": 1030}, tmp_path / "run", "toy", resume=True)
    assert longer.frame == 1030


def test_its_file_is_that_of_the_others(tmp_path):
    """The YAML composes from a folder of its own, and the entry file is what an entry file is."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "toy.yaml").write_text(YAML)
    (tmp_path / "toy_train.py").write_text(
        ENTRY.format(folder=str(tmp_path / "configs")) + "\n\nif __name__ == '__main__':\n    main()\n"
    )
    search = f"hydra.searchpath=[file://{ROOT / 'configs'}]"
    shown = subprocess.run(
        [sys.executable, "toy_train.py", search, "--cfg", "job"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    assert "num_toys: 3" in shown.stdout and "num_train_frames: 2000010" in shown.stdout
