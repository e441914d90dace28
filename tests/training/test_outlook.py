"""What a run says about its time: a trial that changes nothing, words, and advice that the script takes."""

import re
from types import SimpleNamespace

import pytest
from kill_kit import assert_same_runs
from run_kit import DEBUG, SHORT
from settings_kit import compose_settings, typed

import training.outlook
from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from entry.start import SHORT_RUN, assemble, launch, smaller
from training.clock import Clock
from training.outlook import Outlook
from training.run import Counters
from training.settings import OffPolicyKeys
from training.trial import Acting, Trial, attempt
from training.work import Work

DREAMER = (
    *SHORT,
    "save_video=false",
    "use_tb=false",
    "snapshots=[]",
    "num_seed_frames=1500",
    "num_train_frames=1600",
    "eval_every_frames=5000",
)
DRQ = ("preset=debug", "task=cartpole_swingup", "device=cpu", "progress=false", "save_video=false", "log_save_tb=false")
PLANS = ("snapshot_ts=0", "mpc=true", "planner.start_after=20", "agent.num_init_frames=1540")


@pytest.fixture
def trials(tmp_path, monkeypatch):
    """What trials found, in the order in which they were made."""
    monkeypatch.chdir(tmp_path)
    found = []

    def remembering(*arguments):
        found.append(attempt(*arguments))
        return found[-1]

    monkeypatch.setattr(training.outlook, "attempt", remembering)
    return found


@pytest.mark.parametrize(
    ("script", "overrides"),
    [
        pytest.param(
            *("pretrain", (*DREAMER, "num_seed_frames=3000", "num_train_frames=3200", "num_envs=2")),
            marks=pytest.mark.long,
        ),
        ("finetune", (*DREAMER, "agent=deviation_dreamer", *PLANS)),
        pytest.param(
            *("drq", (*DRQ, "num_seed_steps=140", "num_train_steps=150", "eval_frequency=1000")),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_trial_changes_no_number_of_the_run(trials, tmp_path, monkeypatch, script, overrides):
    config = compose_settings(script, *overrides)
    launch(config, tmp_path / "tried", script)
    assert len(trials) == 1 and trials[0].update > 0 and min(*trials[0].first, *trials[0].last) > 0
    with monkeypatch.context() as patch:
        patch.setattr(Outlook, "look", lambda self: None)
        launch(config, tmp_path / "plain", script)
    assert len(trials) == 1
    assert_same_runs(tmp_path / "tried", tmp_path / "plain")


def outlook_of(script, *overrides, step=0, ready=True):
    """With everything timed already: 20 ms a step, 10 s an update; and what it says."""
    settings, said = typed(script, *overrides), []
    clock = Clock(*SCRIPTS[script].length, settings.schedule.steps, settings.action_repeat, step)
    logger = SimpleNamespace(say=said.append)
    stage = SimpleNamespace(clock=clock, counters=Counters(), stopped=lambda: False, logger=logger)
    work = Work()
    outlook = Outlook(settings, SCRIPTS[script].phase, stage, SimpleNamespace(ready=ready), work)
    for kind in ("random step", "step"):
        work.paces[kind].add(0.02)
    outlook.left.tried(Trial(10.0, Acting(0.0, 0.0), Acting(0.0, 0.0), 0))
    work.rounds, outlook._tried = 1000, True
    return outlook, said


def overrides_in(said):
    """Words of what was said that are overrides."""
    return [word for line in said for word in re.findall(r"[\w.]+=\S+", line)]


def untried(monkeypatch, attempted, **where):
    """An outlook that has not looked yet, with ``attempted`` in place of the trial."""
    monkeypatch.setattr(training.outlook, "attempt", attempted)
    outlook, said = outlook_of("pretrain", **where)
    outlook.stage.agent, outlook._tried, outlook._told = None, False, True
    outlook.work.paces["update"].guess = None
    return outlook, said


@pytest.mark.parametrize(
    ("step", "ready", "times"), [(500, True, 1), (1998, True, 1), (500, False, 0), (1999, True, 0), (2000, True, 0)]
)
def test_a_trial_is_made_once_there_is_something_to_learn_from_if_no_update_comes_anyway(
    monkeypatch, step, ready, times
):
    made = []

    def attempted(*arguments):
        made.append(arguments)
        return Trial(10.0, Acting(0.1, 0.1), Acting(0.1, 0.1), 0)

    outlook, _ = untried(monkeypatch, attempted, step=step, ready=ready)
    outlook.look()
    outlook.look()
    assert len(made) == times
    assert outlook.left.seconds_of("update") == (10.0 if times else None)


def test_an_agent_that_cannot_be_tried_is_trained_all_the_same(monkeypatch):
    def attempted(*arguments):
        raise RuntimeError("out of memory")

    outlook, said = untried(monkeypatch, attempted, step=500)
    outlook.look()
    assert len(said) == 1 and "out of memory" in said[0]
    assert outlook.left.seconds_of("update") is None


@pytest.mark.parametrize("script", [name for name, row in SCRIPTS.items() if issubclass(row.keys, OffPolicyKeys)])
def test_a_run_of_days_advises_overrides_that_the_script_takes(script):
    outlook, said = outlook_of(script)
    choices = {"preset": "published"}
    outlook.smaller = smaller(outlook.stage.clock, choices)
    outlook.look()
    outlook.look()
    key, overrides = SCRIPTS[script].length[0], overrides_in(said)
    assert overrides[0] == "preset=small" and {word.partition("=")[0] for word in overrides[1:]} == {key}
    assert f"{key}={SHORT_RUN}" in overrides or script == "finetune"  # which is no longer as it is
    for line in said:
        if words := overrides_in([line]):
            settings_of(script, composed(script, words))
    day = settings_of(script, composed(script, overrides[-1:]))
    assert 0.9 * 86400 < outlook.left.estimate(day.schedule.steps).seconds <= 86400
    assert len(said) == 3 and said[0].startswith("time: about ")


def test_what_is_small_already_or_keeps_its_sizes_is_not_told_to_be_smaller():
    clock = Clock("num_train_frames", "frames", 1_000_005, 2)
    assert smaller(clock, {"preset": "published"}) == f"preset=small num_train_frames={SHORT_RUN}"
    assert smaller(Clock("num_train_frames", "frames", 10_000, 2), {"preset": "published"}) == "preset=small"
    assert [smaller(clock, {"preset": name}) for name in ("small", "quickstart", "debug")] == [None] * 3
    assert smaller(clock, {}) is None
    turns = Clock("epochs", "iterations", 2_000_000, 10_000)  # cycles are not counted in what a short run takes
    assert smaller(turns, {"preset": "published"}) == "preset=small"
    outlook, said = outlook_of("finetune")
    outlook.look()
    assert overrides_in(said) and "preset=small" not in overrides_in(said)


def test_fine_tuning_from_a_snapshot_is_not_told_to_change_its_sizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def remembering(*arguments):
        run = assemble(*arguments)
        seen.append(run.outlook)
        return run

    monkeypatch.setattr("entry.start.assemble", remembering)
    monkeypatch.setattr("training.off_policy.OffPolicyRun.run", lambda self: self.save_checkpoint())
    choices = {"choices": {"preset": "published"}}
    pretrain = compose_settings("pretrain", *DEBUG, "num_train_frames=2000") | choices
    run = launch(pretrain, tmp_path / "pt", "pretrain")
    assert seen[-1].smaller == "preset=small"
    run.save_snapshot(tmp_path / "snapshot_2000.pt")
    finetune = compose_settings("finetune", *DEBUG, "snapshot_ts=2000", f"custom_snap_dir={tmp_path}")
    launch(finetune | choices, tmp_path / "ft", "finetune")
    assert seen[-1].smaller is None
    launch(pretrain, tmp_path / "pt", "pretrain", resume=True)
    assert seen[-1].smaller is None


def test_a_short_run_says_nothing_and_a_run_of_hours_advises_nothing():
    outlook, said = outlook_of("pretrain", "num_train_frames=4020")
    outlook.look()
    assert len(said) == 1 and overrides_in(said) == []
    outlook, said = outlook_of("pretrain", "num_train_frames=4000", step=1000)
    outlook.look()
    assert said == []


def test_the_time_left_counts_down_within_an_update():
    outlook, _ = outlook_of("pretrain", "num_train_frames=4002", step=2000)
    now = [0.0]
    outlook.work.clock = lambda: now[0]
    assert outlook.words() == "10 s left"
    with outlook.work.piece("update"):
        now[0] += 4
        assert outlook.words() == "6 s left"
        now[0] += 400
        assert outlook.words() == "20 ms left"
