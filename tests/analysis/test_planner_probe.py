"""``python -m analysis.planner_probe`` on a fine-tuned agent of debug size."""

import functools
import json

import numpy as np
import pytest
import torch
from run_kit import BLIND, DEBUG

from analysis import planner_probe
from analysis.planner_probe import Paired, compare, load_agent, main
from entry.start import launch
from envs.make import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def snapshot(settings, folder):
    """Of a short fine-tuning, made once for all tests here."""
    path = folder / "ft" / "finetuned_snapshot.pt"
    if not path.exists():
        config = settings(
            "finetune", *DEBUG, *BLIND, "task=jaco_reach_top_left", "snapshot_ts=0", "num_train_frames=1270"
        )
        launch(config, folder / "ft", "finetune")
    return path


def test_the_interval_is_students():
    paired = Paired(np.array([10.0, 20, 30, 40]), np.array([11.0, 23, 30, 44]))
    mean, low, high = paired.difference()
    # gains 1, 3, 0, 4: mean 2, standard deviation sqrt(10 / 3), t = 3.182446 with 3 degrees of freedom
    assert mean == 2
    assert high - mean == pytest.approx(3.182446 * (10 / 3) ** 0.5 / 2, abs=1e-5)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize("steps", [4, pytest.param(125, marks=pytest.mark.long)])
def test_report(snapshot, tmp_path, capsys, monkeypatch, steps):
    monkeypatch.setattr(planner_probe, "play", functools.partial(planner_probe.play, steps=steps))
    assert main([str(snapshot), "--episodes", "2", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    gain = np.subtract(report["planner"], report["actor"])
    assert report["difference"] == pytest.approx(gain.mean())
    assert report["searches"] == 2 * steps and len(report["objective"]) == 2
    assert 0 <= report["objective_rose"] <= 1 and report["milliseconds"] > 0
    shown = capsys.readouterr().out
    assert f"{report['difference']:+.1f}" in shown and "ms per search" in shown


def test_both_play_the_same_starts_and_the_planner_really_plans(snapshot, monkeypatch):
    agent, planner, content = load_agent(snapshot)
    assert all(
        torch.equal(agent.snapshot_modules()[part][name], value)
        for part, state in content["modules"].items()
        for name, value in state.items()
    )
    played = []
    original = planner_probe.play

    def short(agent, env):
        played.append((agent.planning, original(agent, env, steps=3)))
        return played[-1][1]

    monkeypatch.setattr(planner_probe, "play", short)
    env = make("jaco_reach_top_left", seed=3, render_quality="lite")
    before = torch.get_rng_state()
    first = compare(agent, env, 2, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert [planning for planning, _ in played] == [False, True, False, True]
    assert len(planner.objectives) == 2 * 3
    starts = [episode.states[0] for _, episode in played]
    assert np.array_equal(starts[0], starts[1]) and np.array_equal(starts[2], starts[3])
    assert not np.array_equal(starts[0], starts[2])
    assert not np.array_equal(played[0][1].states[1], played[1][1].states[1])
    env.reset(seed=3)
    env.close()
    env = make("jaco_reach_top_left", seed=3, render_quality="lite")
    again = compare(agent, env, 2, seed=0)
    env.close()
    assert np.array_equal(first.actor, again.actor) and np.array_equal(first.planner, again.planner)


def test_refusals(snapshot, tmp_path, capsys, settings, monkeypatch):
    assert main([str(tmp_path / "none.pt")]) == 1
    assert "none.pt does not exist" in capsys.readouterr().err
    assert main([str(snapshot), "--episodes", "1"]) == 1
    assert "--episodes=1" in capsys.readouterr().err
    assert main([str(snapshot), "--seed", "-1"]) == 1
    assert "--seed=-1" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    config = settings("pretrain", *DEBUG, *BLIND, "domain=jaco", "num_train_frames=260", "snapshots=[250]")
    run = launch(config, tmp_path / "pt", "pretrain")
    assert main([str(run.files[0])]) == 1
    assert "is of a pre-training" in capsys.readouterr().err
