"""benchmarks/collector.py: what is timed, what it writes, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import stepping
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


class Slow:
    """Two environments whose episodes last 4 steps; a reset takes 100 seconds, a step 1, an action 10."""

    num_envs = 2

    def __init__(self):
        self.now, self.steps, self.masks = 0, 0, []

    def reset(self, options):
        self.masks.append((self.steps, options["reset_mask"].tolist()))
        self.now += 100
        return self.seen(), {}

    def step(self, actions):
        assert actions.shape == (2, 3)
        self.now += 1
        self.steps += 1
        over = np.array([self.steps % 4 == 0, False])
        return self.seen(), np.zeros(2), np.zeros(2, bool), over, {}

    def seen(self):
        return {"observation": np.full((2, 1), self.steps)}

    def policy(self, observation, begins):
        assert observation.tolist() == [[self.steps]] * 2
        self.now += 10
        return np.zeros((2, 3), np.float32)


def test_time_is_that_of_the_steps_after_the_warm_up(monkeypatch):
    envs = Slow()
    monkeypatch.setattr(stepping.time, "perf_counter", lambda: envs.now)
    monkeypatch.setattr(stepping, "WARM_UP", 2)
    spent = stepping.step(envs, envs.policy, 5)  # type: ignore[arg-type]
    assert envs.steps == 7
    assert envs.masks == [(0, [True, True]), (4, [True, False])]  # what has ended begins again, and nothing else
    assert spent == {"env": 5 + 100, "act": 50, "rest": 0}


def test_the_agent_is_asked_as_a_collector_asks():
    calls = []

    class Agent:
        device, collects = torch.device("cpu"), "train"

        def start(self, count):
            return [f"start {count}"]

        def begin(self, acting, begins):
            return [*acting, f"begin {begins.tolist()}"]

        def act(self, observation, acting, is_first, mode):
            calls.append((observation.tolist(), acting, is_first.tolist(), mode))
            return observation.float() + 0.5, [*acting, "act"]

    policy = stepping.agent_policy(Agent(), 1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(policy(np.array([[1]]), np.array([True])), [[1.5]])
    policy(np.array([[2]]), np.array([False]))
    begun = ["start 1", "begin [True]"]
    assert calls == [([[1]], begun, [True], "train"), ([[2]], [*begun, "act"], [False], "train")]


def test_random_actions():
    policy = stepping.random_policy((50, 6))
    first, second = (policy(np.zeros((50, 1)), np.zeros(50, bool)) for _ in range(2))
    assert first.shape == (50, 6) and first.dtype == np.float32 and not np.array_equal(first, second)
    assert -1 <= first.min() < -0.9 and 0.9 < first.max() <= 1


def test_what_it_writes(tmp_path, capsys):
    path = tmp_path / "table.json"
    words = ["preset=debug", "device=cpu", "threads=1", "num_envs=2", "collect.workers=false,true", f"json={path}"]
    assert stepping.main([*words, "render.quality=lite", "steps=5", "task=cartpole_balance"]) == 0
    report = json.loads(path.read_text())
    assert {"rows", "hardware", "commit", "device", "overrides"} <= set(report)
    assert report["task"] == "cartpole_balance"
    alone, workers = report["rows"]
    assert [alone["workers"], workers["workers"]] == [False, True]
    for row in (alone, workers):
        assert (row["num_envs"], row["quality"], row["frames"]) == (2, "lite", 12)  # 3 steps of 2, 2 frames each
        assert row["frames_per_second"] > 0 and row["env_ms"] > 0 and row["act_ms"] > 0
        # what is neither is next to nothing
        split = 12 / (3e-3 * (row["env_ms"] + row["act_ms"]))
        assert 0.3 * split < row["acting_frames_per_second"] <= 1.001 * split
        assert 0 < row["start_seconds"] < 120
    assert alone["worker_bytes"] == []
    assert len(workers["worker_bytes"]) in (0, 2)  # none where there is no /proc
    assert all(30e6 < share < 500e6 for share in workers["worker_bytes"])
    assert capsys.readouterr().out.count("\n| ") == 4  # titles, a line, the rows


def test_without_acting_no_agent_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(stepping, "build_agent", lambda *_: pytest.fail("an agent was built"))
    path = tmp_path / "table.json"
    words = ["act=false", "num_envs=1", "collect.workers=false", "render.quality=lite", "steps=2", f"json={path}"]
    assert stepping.main([*words, "task=cartpole_balance", "threads=1"]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["frames_per_second"] > 0 and row["env_ms"] > 0
    assert row["act_ms"] is None and row["acting_frames_per_second"] is None


def test_a_row_for_each_combination(monkeypatch):
    cases = []
    monkeypatch.setattr(stepping, "measure", lambda case, *_: cases.append(case) or {})
    monkeypatch.setattr(stepping, "make", lambda *_, **__: SimpleNamespace(close=lambda: None, **SPACES))
    monkeypatch.setattr(stepping, "show", lambda rows: "")
    assert stepping.main(["act=false", "num_envs=1,3", "collect.workers=true", "render.quality=full,lite"]) == 0
    assert cases == [(1, True, "full"), (1, True, "lite"), (3, True, "full"), (3, True, "lite")]
    cases.clear()
    assert stepping.main(["act=false"]) == 0
    assert len(cases) == len(set(cases)) == 8


SPACES = {
    "observation_space": {"observation": SimpleNamespace(shape=(3, 64, 64))},
    "action_space": SimpleNamespace(shape=(6,)),
}


def test_the_task():
    assert stepping.settings([]).task == "walker_run"
    assert stepping.settings(["task=quadruped_jump"]).domain == "quadruped"
    assert stepping.settings(["domain=jaco"]).task == "jaco_reach_top_left"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("num_envs=1,0", "num_envs=0 is not allowed: it must be a whole number from 1"),
        ("num_envs=two", "num_envs=two is not allowed: it must be a whole number from 1"),
        ("collect.workers=null", "collect.workers=null is not allowed: it must be true or false."),
        ("render.quality=lite,poor", "render.quality=poor is not allowed: it must be one of full, lite"),
        ("steps=0", "steps=0 is not allowed"),
        ("act=1", "act=1 is not allowed: it must be true or false."),
        ("task=walker_fly", "task=walker_fly is not known"),
        ("stepss=3", "there is no key stepss"),
        ("preset=tiny", "preset=tiny is not known"),
        ("steps", "steps: write key=value; keys of this benchmark: threads, json, num_envs, collect.workers"),
    ],
)
def test_what_is_refused(word, message, capsys, monkeypatch):
    for name in ("make", "make_vector", "build_agent"):
        monkeypatch.setattr(stepping, name, lambda *_, **__: pytest.fail("something was built"))
    assert stepping.main([word]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    with pytest.raises(UserError, match=message):
        raise UserError(captured.err)


def test_worker_processes_load_no_torch_for_the_scripts():
    """They import the script that has started them."""
    code = "import sys, benchmarks.collector, benchmarks.end_to_end; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("file", ["collector.py", "end_to_end.py"])
def test_the_files_are_scripts(file, tmp_path):
    """Also from another folder, where Python finds ``benchmarks/replay.py`` first."""
    command = [sys.executable, str(ROOT / "benchmarks" / file), "threads=0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error: threads=0"), done.stderr
