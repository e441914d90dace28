"""The table of a GPU: rows that are kept, rows that fail or take too long, and the same line once more."""

import json

import pytest

from benchmarks import gpu_table
from benchmarks.gpu_table import ROWS, command, main, measure


def row(ms=12.0):
    return {
        "rows": [
            {
                "agent": "dreamer",
                "variant": "off",
                "precision": 16,
                "update_ms": ms,
                "fastest_ms": 11.0,
                "peak_bytes": 2_500_000_000,
            }
        ]
    }


@pytest.fixture
def measured(monkeypatch):
    """Names of rows that were measured; ``broken`` ones fail."""
    found, broken = [], set()

    def pretended(name, folder, others, seconds):
        found.append(name)
        if name in broken:
            return "failed"
        (folder / f"{name}.json").write_text(json.dumps(row()))
        return "measured"

    monkeypatch.setattr(gpu_table, "measure", pretended)
    return found, broken


def test_what_is_there_is_not_measured_again(measured, tmp_path, capsys):
    found, broken = measured
    words = [f"folder={tmp_path}", "rows=dreamer,sd3_graphs"]
    broken.add("sd3_graphs")
    assert main(words) == 1
    assert "sd3_graphs" in capsys.readouterr().err and found == ["dreamer", "sd3_graphs"]
    broken.clear()
    assert main(words) == 0
    assert found == ["dreamer", "sd3_graphs", "sd3_graphs"]
    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out and table.count("12.0 ms") == 2 and table.count("2.50 GB") == 2


@pytest.mark.parametrize(("word", "told"), [("rows=sd4", ["rows", "sd4"]), ("agent=dreamer", ["agent=dreamer"])])
def test_wrong_words(tmp_path, capsys, word, told):
    assert main([f"folder={tmp_path}", word]) == 1
    said = capsys.readouterr().err
    assert all(part in said for part in told) and "Traceback" not in said


def test_commands_are_those_of_the_benchmarks(tmp_path):
    for name in ROWS:
        line = command(name, tmp_path / "x.json", ["device=cpu", "batch_size=3"])
        assert line[-1] == f"json={tmp_path / 'x.json'}" and line.count("batch_size=3") == 1
        assert "batch_size=50" not in line


@pytest.mark.long
def test_a_row_for_real(tmp_path):
    small = ["device=cpu", "preset=debug", "batch_size=2", "batch_length=4", "updates=1", "precision=32"]
    assert measure("dreamer", tmp_path, small, 200).startswith("measured")
    assert json.loads((tmp_path / "dreamer.json").read_text())["rows"][0]["update_ms"] > 0
    assert "given up" in measure("dreamer", tmp_path, small, 0.5)
    assert "failed" in measure("dreamer", tmp_path, [*small, "no_such_key=1"], 100)
