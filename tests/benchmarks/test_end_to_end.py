"""benchmarks/end_to_end.py: what is timed and when, what it writes, what it refuses."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks import whole_run
from training.off_policy import OffPolicyRun
from utils.errors import UserError

# episodes of 100 steps, an update every second step of one environment
TINY = ("preset=debug", "device=cpu", "threads=1", "action_repeat=10", "train_every_actions=20")
STAGES = {"environments", "act", "replay", "learn", "rest"}


@pytest.fixture
def runs(monkeypatch):
    """The runs there were, in order."""
    found = []
    original = OffPolicyRun.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        found.append(self)

    monkeypatch.setattr(OffPolicyRun, "__init__", init)
    return found


def test_what_it_writes(tmp_path, capsys, runs):
    folder, path = tmp_path / "disk", tmp_path / "table.json"
    folder.mkdir()
    words = [*TINY, "num_envs=2", "collect.async=true", "frames=210", "baseline=true"]
    assert whole_run.main([*words, f"folder={folder}", f"json={path}"]) == 0
    assert list(folder.iterdir()) == []
    report = json.loads(path.read_text())
    assert {"rows", "hardware", "commit", "device", "overrides"} <= set(report)
    baseline, asked = report["rows"]
    assert (baseline["num_envs"], baseline["async"], baseline["workers"]) == (1, False, False)
    assert (asked["num_envs"], asked["async"], asked["workers"]) == (2, True, True)
    assert (baseline["frames"], asked["frames"]) == (210, 220)  # whole steps of all environments
    for row in (baseline, asked):
        assert row["updates"] in (10, 11) and row["updates_per_frame"] == row["updates"] / row["frames"]
        assert row["frames_per_second"] == pytest.approx(row["frames"] / row["seconds"])
        assert set(row["stages_s"]) == STAGES and all(value > 0 for value in row["stages_s"].values())
        # the stages add up to the time of the second stretch
        assert sum(row["stages_s"].values()) == pytest.approx(row["frames"] / row["split_frames_per_second"], rel=0.1)
        assert row["gpu_utilisation"] is None
    assert baseline["over_baseline"] == 1
    assert asked["over_baseline"] == pytest.approx(asked["frames_per_second"] / baseline["frames_per_second"])
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 2 * 4 and "| train" not in printed
    for run in runs:
        assert run.files == [] and run.counters.evaluations == 0
        assert run.settings.num_train_frames - 100 < run.frame <= run.settings.num_train_frames


def test_only_the_second_stretch_is_wrapped(monkeypatch, runs, tmp_path):
    seen = []

    def advance(run, frames, clock):
        seen.append((run.updates, "act" in vars(run.agent), "sample" in vars(run.replay)))
        return whole_run.Stretch(1.0, frames, 1)

    monkeypatch.setattr(whole_run, "advance", advance)
    config = whole_run.settings([word for word in TINY if "threads" not in word], 30, {})
    row = whole_run.measure("as asked", config, 30, str(tmp_path), torch.device("cpu"))
    assert seen == [(whole_run.WARM_UP, False, False), (whole_run.WARM_UP, True, True)]
    assert row["frames_per_second"] == 30
    (run,) = runs
    for owner in (run.agent, run.replay, run.learner, run.collector.envs):
        assert not {"act", "begin", "sample", "add", "update", "step", "reset"} & set(vars(owner))
    assert run.frame == pytest.approx(1000 + 20 * whole_run.WARM_UP, abs=20)


def test_a_stretch_ends_with_a_whole_iteration():
    run = SimpleNamespace(frame=100, updates=7, now=50.0)

    def iterate():
        run.frame, run.updates, run.now = run.frame + 8, run.updates + 1, run.now + 2

    run.iterate = iterate
    stretch = whole_run.advance(run, 20, lambda: run.now)  # type: ignore[arg-type]
    assert stretch == (6, 24, 3)
    assert stretch.frames_per_second == 4


def test_the_seed_phase_is_one_episode_of_each_environment_unless_given():
    assert whole_run.settings(["num_envs=3"], 10, {}).num_seed_frames == 3000
    assert whole_run.settings(["num_envs=3", "domain=jaco"], 10, {}).num_seed_frames == 750
    assert whole_run.settings(["num_seed_frames=500"], 10, {}).num_seed_frames == 500


def test_the_baseline_changes_nothing_else():
    words = ["preset=small", "num_envs=4", "collect.async=true", "compile=default", "batch_size=3"]
    asked, baseline = (whole_run.settings(words, 10, change) for change in ({}, whole_run.PUBLISHED))
    assert (asked.num_envs, asked.collect.overlap, asked.compile) == (4, True, "default")
    assert (baseline.num_envs, baseline.collect.overlap, baseline.compile) == (1, False, "off")
    one, two = asked.plain(), baseline.plain()
    changed = {key for key in one if one[key] != two[key]}
    assert changed == {"num_envs", "collect", "compile", "num_seed_frames", "num_train_frames"}


def test_nothing_is_compared_without_a_baseline():
    rows = [{"variant": "as asked", "frames_per_second": 3.0}]
    whole_run.compare(rows)
    assert rows[0]["over_baseline"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frames=0"], "frames=0 is not allowed: it must be a whole number from 1"),
        (["baseline=2"], "baseline=2 is not allowed: it must be true or false."),
        (["evaluate=true"], "evaluate=true: this benchmark sets evaluate itself. Leave it out."),
        (["+snapshots=[5]"], "sets snapshots itself"),
        (["num_train_frames=100"], "sets num_train_frames itself. Give frames=<n>, those that are timed."),
        (["resume=latest"], "sets resume itself"),
        (["frame=3"], "there is no key frame"),
        (["folder=/nowhere/at/all"], "folder=/nowhere/at/all is no folder. Name one that is there."),
        (["collect.async=true", "collect.workers=false"], "collect.async=true needs collect.workers=true"),
        (["baseline=true", "num_envs=0"], "num_envs=0 is not allowed"),
        (["device=tpu"], "device=tpu is not allowed"),
    ],
)
def test_what_is_refused(words, message, capsys, monkeypatch):
    monkeypatch.setattr(whole_run, "build", lambda *_: pytest.fail("something was built"))
    assert whole_run.main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    with pytest.raises(UserError, match=message):
        raise UserError(captured.err)
