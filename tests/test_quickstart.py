"""The quickstart with a few frames: both commands run, and the summary names files that are there."""

import re
from pathlib import Path

import quickstart


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
