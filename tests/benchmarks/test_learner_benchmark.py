"""benchmarks/learner.py: runs, what it writes, what it refuses."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from fork_kit import run as run_script

from benchmarks import learner
from utils.config import CONFIGS
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TINY = ("preset=debug", "device=cpu", "batch_size=2", "batch_length=3", "updates=2", "threads=1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("benchmarks.floor.SIZE", 64)
    monkeypatch.setattr(learner, "WARM_UP", 1)


def run(tmp_path, *words):
    path = tmp_path / "table.json"
    assert learner.main([*TINY, f"json={path}", *words]) == 0
    return json.loads(path.read_text())


def test_what_it_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.clock.time.perf_counter", time.process_time)  # whatever else the machine does
    report = run(tmp_path, "agent=deviation_dreamer", "baseline=true")
    assert {"ratio", "rows", "hardware", "commit", "overrides", "operations", "rate", "floor_ms"} <= set(report)
    assert {"cpu", "cores", "threads", "gpu", "torch"} == set(report["hardware"])
    assert report["hardware"]["threads"] == 1 and report["hardware"]["torch"] == torch.__version__
    assert report["operations"] == 215e9 * 6 / 256
    assert report["floor_ms"] == pytest.approx(1e3 * report["operations"] / report["rate"])
    assert [row["variant"] for row in report["rows"]] == ["baseline", "off"]
    for row in report["rows"]:
        assert row["agent"] == "deviation_dreamer" and row["precision"] == 32
        assert 0 < row["fastest_ms"] <= row["update_ms"] == pytest.approx(1e3 / row["updates_per_second"])
        assert row["update_ms"] / 3 < sum(row["stages_ms"].values()) < 3 * row["update_ms"]
    # a preset's networks have another floor
    assert report["ratio"] is None and all(row["ratio"] is None for row in report["rows"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("update / floor ratio: none")


def test_the_ratio_of_dreamer_at_published_sizes(tmp_path, capsys):
    words = ["device=cpu", "batch_size=1", "batch_length=2", "updates=1", "threads=1", f"json={tmp_path / 'r.json'}"]
    assert learner.main(words) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    (row,) = report["rows"]
    assert report["ratio"] == row["ratio"] == pytest.approx(row["update_ms"] / report["floor_ms"])
    assert report["operations"] == 215e9 * 2 / 256
    assert row["over_dreamer"] == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"update / floor ratio: {report['ratio']:.2f}"


def test_all_agents_are_compared_to_dreamer(tmp_path, monkeypatch):
    assert learner.agents()[0] == "dreamer"
    assert sorted(learner.agents()) == sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
    monkeypatch.setattr(learner, "agents", lambda: ["dreamer", "aps_dreamer", "random_dreamer"])
    rows = run(tmp_path, "agent=all", "updates=1")["rows"]
    assert [row["agent"] for row in rows] == learner.agents()
    for row in rows:
        assert row["over_dreamer"] == pytest.approx(row["update_ms"] / rows[0]["update_ms"])


def test_without_other_words_the_batch_is_16_by_16():
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "settings", lambda words: given.append(words) or sys.exit(0))
        with pytest.raises(SystemExit):
            learner.main(["batch_length=8"])
    assert given == [["agent=dreamer", "batch_length=8", "batch_size=16"]]


def test_rows_of_a_compiled_agent():
    assert learner.variants(learner.settings(["compile=off"]), True) == ["baseline", "off"]
    assert learner.variants(learner.settings(["compile=cudagraphs"]), False) == ["off", "cudagraphs"]


def test_a_compiled_row_is_compiled_and_has_no_stages(monkeypatch, capsys):
    config = learner.settings(["preset=debug", "device=cpu", "batch_size=2", "batch_length=3"])
    calls = []
    monkeypatch.setattr(
        learner, "compile_agent", lambda agent, mode: calls.append((agent.name, mode)) or ["half of it"]
    )
    assert learner.measure(config, "off", 1, torch.device("cpu"))["stages_ms"] and not calls
    row = learner.measure(config, "default", 1, torch.device("cpu"))
    assert calls == [("dreamer", "default")]
    assert row["notes"] == ["half of it"] and capsys.readouterr().out == "note: half of it\n"
    assert row["variant"] == "default" and row["stages_ms"] == {} and row["update_ms"] > 0


def test_ratios_are_those_of_the_last_row_of_dreamer():
    rows = [
        {"agent": agent, "variant": variant, "update_ms": time}
        for agent, variant, time in (
            ("dreamer", "off", 20.0),
            ("dreamer", "default", 10.0),
            ("icm_dreamer", "off", 25.0),
        )
    ]
    assert learner.compare(rows, 0.004, True) == 2.5
    assert [row["ratio"] for row in rows] == [5, 2.5, None]
    assert [row["over_dreamer"] for row in rows] == [1, 1, 1.25]
    assert learner.compare(rows, 0.004, False) is None


def test_the_batch_is_what_replay_would_give():
    config = learner.settings(["agent=diayn_dreamer", "preset=debug", "batch_size=40", "batch_length=50"])
    agent, batch = learner.build(config, "off", torch.device("cpu"))
    assert batch["observation"].dtype == torch.uint8 and batch["observation"].shape == (40, 50, 3, 64, 64)
    assert batch["action"].shape == (40, 50, 6) and batch["action"].abs().max() <= 1
    assert batch["is_first"][:, 0].all() and 0 < batch["is_first"][:, 1:].float().mean() < 0.1
    assert batch["skill"].shape == (40, 50, agent.skill_dim) and torch.equal(batch["skill"].sum(-1), torch.ones(40, 50))
    assert torch.equal(batch["skill_valid"], ~batch["is_first"])


def test_the_baseline_reads_every_metric(monkeypatch):
    config = learner.settings(["preset=debug", "device=cpu", "batch_size=2", "batch_length=3"])
    reads = []
    real = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or real(self))
    monkeypatch.setattr(learner, "WARM_UP", 0)
    learner.measure(config, "off", 1, torch.device("cpu"))
    plain = len(reads)
    learner.measure(config, "baseline", 1, torch.device("cpu"))
    assert len(reads) - 2 * plain >= 3 * 15  # timed, for memory, for stages; at least 15 metrics


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["agent=dreamr"], "agent=dreamr is not known.*Did you mean agent=dreamer?"),
        (["updates=0"], "updates=0 is not allowed: it must be a whole number from 1"),
        (["batch_size=0"], "batch_size=0 is not allowed"),
        (["batchsize=3"], "there is no key batchsize.*batch_size"),
        (["preset=tiny"], "preset=tiny is not known"),
        (["rssm=5"], "rssm"),
        (["domain=quadruped"], "domain=quadruped: the random batch is that of domain=walker. Leave domain out."),
        (["device=tpu"], "device=tpu is not allowed"),
        (["--threads", "2"], "--threads: write key=value"),
    ],
)
def test_what_is_refused(words, message, capsys, monkeypatch):
    monkeypatch.setattr(learner, "build_agent", lambda *_: pytest.fail("something was built"))
    assert learner.main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        raise UserError(captured.err)


@pytest.mark.parametrize("script", ["learner", "replay", "drq", "collector", "end_to_end"])
def test_scripts_run_as_files_from_anywhere(script, tmp_path):
    """A refusal is enough: everything has been imported by then."""
    file = ROOT / "benchmarks" / f"{script}.py"
    child = run_script(file, "threads=0", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    assert child.returncode == 1
    assert child.stderr == "error: threads=0 is not allowed: it must be a whole number from 1 to 10^15.\n"
