"""Commands under their old names: they run, with a note of the new one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (["training.coverage", "--help"], "analysis.coverage", "--frames"),
        (["training.skill_probe", "--help"], "analysis.skill_probe", "--untrained"),
        pytest.param(
            *(["training.planner_probe", "--help"], "analysis.planner_probe", "--episodes"), marks=pytest.mark.long
        ),
        (["training.checkpoint", "show", "--help"], "analysis.describe", "file"),
    ],
)
def test_old_names_still_work(old, new, said):
    done = subprocess.run([sys.executable, "-m", *old], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"python -m {new}" in done.stderr and len(done.stderr.splitlines()) == 1
    assert said in done.stdout and f"python -m {new}" in done.stdout
