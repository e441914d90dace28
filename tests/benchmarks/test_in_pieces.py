"""A run in pieces of minutes."""

import sys

import pytest
from run_kit import SHORT

from benchmarks import in_pieces
from benchmarks.in_pieces import UNFINISHED, command, main, piece
from utils.errors import UserError


def test_it_begins_and_then_resumes(tmp_path):
    run = tmp_path / "run"
    first = command("dreamer_pretrain.py", run, ["agent=dreamer"])
    assert first[2:] == ["agent=dreamer", f"hydra.run.dir={run}"]
    run.mkdir()
    (run / "checkpoint.pt").touch()
    assert command("dreamer_pretrain.py", run, ["agent=dreamer"])[2:] == [f"resume={run}"]


def test_how_a_piece_ends():
    assert piece([sys.executable, "-c", "pass"], 60)
    assert not piece([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    with pytest.raises(UserError, match="status 3"):
        piece([sys.executable, "-c", "raise SystemExit(3)"], 60)


@pytest.mark.parametrize("words", [[], ["minutes=1"], ["dreamer_pretrian.py"], ["minute=1", "dreamer_pretrain.py"]])
def test_wrong_words(words):
    with pytest.raises(UserError):
        main(words)


@pytest.mark.long
def test_a_run_in_two_pieces(tmp_path, monkeypatch):
    """Stopped as soon as its checkpoint is there, and finished by the same line."""
    run, words = tmp_path / "run", ["dreamer_pretrain.py", *SHORT, "num_train_frames=1300", "snapshots=[]"]
    given = in_pieces.piece

    def until_a_checkpoint(line, seconds):
        return given(line, 25.0 if "resume" not in line[-1] else 250.0)

    monkeypatch.setattr(in_pieces, "piece", until_a_checkpoint)
    statuses = [main([f"run={run}", *words]) for _ in range(2)]
    assert statuses[-1] == 0 and set(statuses) <= {0, UNFINISHED}
    assert (run / "checkpoint.pt").is_file()
