"""benchmarks/replay.py: runs, and what it writes."""

import json

import numpy as np
import pytest

from benchmarks import replay
from replay import Replay


def run(tmp_path, *words):
    path = tmp_path / "table.json"
    assert replay.main(["steps=1002", "batches=3", "threads=1", f"json={path}", *words]) == 0
    return json.loads(path.read_text())


def test_what_it_writes(tmp_path, capsys):
    folder = tmp_path / "disk"
    folder.mkdir()
    report = run(tmp_path, f"folder={folder}")
    assert list(folder.iterdir()) == []
    assert {"rows", "hardware", "commit", "device"} <= set(report)
    small, large, drq = report["rows"]
    image, rest = 3 * 64 * 64, 4 * 6 + 4 + 3 + 8 * 18  # action, reward, flags, physics
    for row, least in ((small, image + rest), (large, image + rest), (drq, 3 * 84 * 84 + 4 + 4 + 3 + 8 * 4)):
        assert least <= row["record_bytes"] < least + 8
        # files are allocated in blocks of 4096 bytes
        assert row["record_bytes"] * 0.99 < row["disk_bytes_per_step"] < row["record_bytes"] + 4096 / 60
        assert row["sample_ms"] > 0 and 0 < row["append_cpu_us"] < 1.5 * row["append_us"]
        assert 0 < row["sample_cpu_ms"] < 100
    assert [row["steps"] for row in report["rows"]] == [1002, 1002, 1004]  # whole episodes
    assert small["batch_bytes"] == 16 * 16 * (image + 4 * 6 + 4 + 3)
    assert large["batch_bytes"] == 50 * 50 * (image + 4 * 6 + 4 + 3)
    assert drq["batch_bytes"] == 128 * (4 * 3 * 84 * 84 + 4 + 4 + 2)
    assert capsys.readouterr().out.count("\n| ") == 5


def test_the_records_are_whole_episodes(tmp_path):
    case = replay.CASES[0]
    memory = Replay(tmp_path, case.spec(), capacity=4008, batch_size=2, batch_length=16, seed=0, episode_length=501)
    for record in replay.records(case.spec(), case.episode, 1002):
        memory.add(record)
    np.testing.assert_array_equal(memory.episodes, [[0, 0, 501], [0, 501, 501]])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps=0", "steps=0 is not allowed"),
        (
            "batch_size=3",
            "there is no key batch_size. This benchmark has threads, json, steps, batches, folder, device.",
        ),
        ("folder=/nowhere/at/all", "folder=/nowhere/at/all is no folder. Name one that is there."),
        ("device=tpu", "device=tpu is not allowed"),
    ],
)
def test_what_is_refused(word, message, capsys):
    assert replay.main([word]) == 1
    assert message in capsys.readouterr().err
