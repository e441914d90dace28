"""The lines of docs/python_api.md run, in their order, and do what the page says."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python_api.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6 and all(len(block.strip().splitlines()) <= 8 for block in blocks)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["run"].frame == 2010 and names["agent"].name == "icm_dreamer"
    assert names["episode"].images.shape == (501, 3, 64, 64) and names["episode"].reward > 0
    assert (tmp_path / "episode.mp4").stat().st_size > 1000
    assert all(torch.isfinite(value) for value in names["updated"].losses.values())
    assert names["batch"]["observation"].shape == (4, 8, 3, 64, 64)
    assert "icm_loss" in capsys.readouterr().out
