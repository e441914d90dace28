"""The quickstart with a few frames: both commands run, and the summary names files that are there."""

import os
import re
import shlex
import signal
import threading
import time
from pathlib import Path

import pytest
from snapshot_kit import made_by

import quickstart
from entry.cli import check_overrides
from entry.scripts import SCRIPTS
from entry.settings import settings_of, settled
from entry.stored import CHOICES
from training.fitting import check_fits
from utils.process import STOPS

PHASES = {script.file: phase for phase, script in SCRIPTS.items()}

SAVES = """
import pathlib, signal, sys
def save(number, frame):
    pathlib.Path("saved").write_text(str(number))
    sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, save)
pathlib.Path("ready").touch()
signal.pause()
"""


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal_goes_to_the_run_which_saves(tmp_path, monkeypatch, number):
    """One that is sent to the quickstart alone, as by a scheduler."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    (tmp_path / "saves.py").write_text(SAVES)

    def stop():
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        quickstart.step("a run", "saves.py", tmp_path)
    assert (tmp_path / "saved").read_text() == str(int(number))
    assert signal.getsignal(number) == before


def test_the_summary_is_true(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "PRESET", "debug")
    monkeypatch.setattr(quickstart, "PRETRAIN_FRAMES", 1010)
    monkeypatch.setattr(quickstart, "FINETUNE_FRAMES", 1020)
    quickstart.main()
    out = capfd.readouterr().out
    named = [Path(name) for name in re.findall(r"^  (\S+)  \([0-9.]+ MB\)$", out, re.MULTILINE)]
    assert all(path.is_file() for path in named)
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file() and "replay" not in p.parts}
    assert made == set(named)
    assert {"learning_curve.png", "snapshot_1010.pt", "eval.csv"} <= {path.name for path in named}
    assert any(path.suffix == ".mp4" for path in named)
    skills = Path(re.search(r"^skills after pre-training: (\S+)$", out, re.MULTILINE).group(1))
    assert skills in named and skills.name == "train_skills_1010.mp4"
    first, last = map(int, re.search(r"evaluations: (\d+) at frame 0, (\d+) at frame 1000", out).groups())
    rows = quickstart.returns(next(path for path in named if path.name == "eval.csv" and "finetune" in path.parts))
    assert [round(rows[0][1]), round(rows[-1][1])] == [first, last]
    commands = re.findall(r"^(?:go on: )?(\S+ (\S+/(\w+\.py)) .*)$", out, re.MULTILINE)
    assert [name for _, _, name in commands] == ["dreamer_pretrain.py", "dreamer_finetune.py", "dreamer_finetune.py"]
    for line, path, name in commands:
        assert Path(path).is_file()
        settings_of(PHASES[name], settled(check_overrides(PHASES[name], shlex.split(line)[2:])))


def test_the_snapshot_fits_what_is_to_be_tried_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = (f"agent={quickstart.AGENT}", f"preset={quickstart.PRESET}", "domain=walker")
    path = quickstart.SNAPSHOTS / f"snapshot_{quickstart.PRETRAIN_FRAMES}.pt"
    path.parent.mkdir(parents=True)
    made_by(path, "pretrain", *made)
    now = settled(check_overrides("finetune", quickstart.next_words()))
    settings = settings_of("finetune", now)
    check_fits(SCRIPTS["finetune"].source(settings), settings, now[CHOICES])
