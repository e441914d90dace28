"""The quickstart with a few frames: its commands run, its sentences are computed, its files are there."""

import os
import re
import shlex
import signal
import threading
import time
from pathlib import Path

import pytest
from run_kit import SHORT
from snapshot_kit import made_by

import quickstart
from analysis import skill_probe
from entry.cli import check_overrides
from entry.scripts import SCRIPTS
from entry.settings import settings_of, settled
from entry.stored import CHOICES
from training.fitting import check_fits
from utils.poster import Runs
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


@pytest.fixture
def brief(tmp_path, monkeypatch):
    """A quickstart of seconds, in a folder of its own, compared with two runs from scratch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "SETTINGS", (f"agent={quickstart.AGENT}", *SHORT))
    monkeypatch.setattr(quickstart, "PRETRAIN_FRAMES", 1010)
    monkeypatch.setattr(quickstart, "FINETUNE_FRAMES", 1020)
    monkeypatch.setattr(quickstart, "FINETUNE_EVERY", 10)
    scratch = tmp_path / "scratch.csv"
    scratch.write_text("seed,frame,episode_reward\n1,0,10\n1,1000,2000\n2,0,30\n2,1000,4000\n")
    monkeypatch.setattr(quickstart, "SCRATCH", scratch)
    return scratch


def test_what_it_says_is_true(brief, tmp_path, capfd):
    assert quickstart.ending(["--seed", "3"]) == 0
    out = capfd.readouterr().out
    named = [Path(name) for name in re.findall(r"^  (\S+)  \([0-9.]+ MB\)$", out, re.MULTILINE)]
    assert all(path.is_file() for path in named)
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file() and "replay" not in p.parts}
    assert made - {brief.relative_to(tmp_path)} == set(named)
    assert {"poster.png", "skills.png", "snapshot_1010.pt", "eval.csv"} <= {path.name for path in named}
    assert any(path.name == "train_skills_1010.mp4" for path in named)
    (returns,) = quickstart.curve(
        next(path for path in named if path.name == "eval.csv" and "finetune" in path.parts)
    ).returns
    first, last = map(int, re.search(r"(\d+) at the start .* (\d+) after 1,000 frames", out).groups())
    assert [round(returns[0]), round(returns[-1])] == [first, last]
    assert "3000 (median of 2 seeds, 2000 to 4000)" in out
    commands = re.findall(r"^(?:go on: )?(\S+ (\S+/(\w+\.py)) .*)$", out, re.MULTILINE)
    assert [name for _, _, name in commands] == ["dreamer_pretrain.py", "dreamer_finetune.py", "dreamer_finetune.py"]
    for line, path, name in commands:
        assert Path(path).is_file()
        request = settled(check_overrides(PHASES[name], shlex.split(line)[2:]))
        assert "seed=3" in line or "snapshot=" in line
        settings_of(PHASES[name], request)
    (page,) = re.findall(r"^all of it as one page: \S+ \S+/report\.py snapshot=(.*)$", out, re.MULTILINE)
    assert Path(*shlex.split(page)).is_file()
    (probe,) = re.findall(r"^\S+ -m analysis\.skill_probe (.*)$", out, re.MULTILINE)
    assert skill_probe.parser().parse_args(shlex.split(probe)).episodes == quickstart.PROBE_EPISODES


def test_the_snapshot_fits_what_is_to_be_tried_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "snapshot_8000.pt"
    made_by(path, "pretrain", *quickstart.SETTINGS, "domain=walker")
    now = settled(check_overrides("finetune", quickstart.next_words(path)))
    settings = settings_of("finetune", now)
    check_fits(SCRIPTS["finetune"].source(settings), settings, now[CHOICES])


OTHERS = Runs([0, 5000, 10_000], [[100, 150, 200], [90, 160, 300], [110, 170, 250]], "scratch")


@pytest.mark.parametrize(
    "returns, said",
    [
        ([120, 300, 500], ["120 at the start", "500 after 10,000", "250 (median of 3 seeds, 200 to 300)", "2.0 times"]),
        ([120, 300, 240], ["did not pay", "240 after", "250 (median"]),
        ([320, 300, 310], ["did not learn", "320 at the start", "310 after"]),
    ],
    ids=["pays", "does not pay", "does not learn"],
)
def test_the_curve_in_words(returns, said):
    sentence = quickstart.told_curve(Runs([0, 5000, 10_000], [returns], "learned"), OTHERS)
    assert all(part in sentence for part in said)
    assert ("times" in sentence) == ("times" in said[-1])


def test_scratch_is_read_at_the_frame_that_the_run_came_to():
    assert OTHERS.at(9999) == [150, 160, 170]
    assert OTHERS.at(10_012) == [200, 300, 250]


@pytest.mark.parametrize("low, differ", [(0.13, True), (0.12, False)])
def test_the_skills_in_words(low, differ):
    """They differ where the interval is above chance."""
    report = {"accuracy": 0.5, "interval": [low, 0.8], "chance": 0.125, "skills": 8, "episodes": 2}
    sentence = quickstart.told_skills(report)
    assert "50% of 16" in sentence
    assert ("different ends" in sentence, "not be told apart" in sentence) == (differ, not differ)


def test_what_ships_is_five_seeds_to_the_last_frame():
    others = quickstart.scratch()
    assert len(others.returns) == 5
    assert others.frames[0] == 0
    assert others.frames[-1] >= 10_000


@pytest.mark.parametrize("words", [["preset=small"], ["--seed", "-1"], ["--seed", "one"], ["--seed", "4294967296"]])
def test_other_words_are_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        quickstart.ending(words)
    assert end.value.code == 2
    assert words[-1] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
