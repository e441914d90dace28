"""The forecast: what is to come of each kind of work is what then comes, and its times are put together rightly."""

from types import SimpleNamespace

import pytest
from settings_kit import typed
from test_schedule import Recorder

from training.clock import Clock
from training.outlook import rounded
from training.run import Counters
from training.time_left import TimeLeft
from training.trial import Acting, Trial
from training.work import Work
from utils.durations import DAY, HOUR

FINETUNE = ("finetune", "num_train_frames=30010")


def left_of(run):
    marks, envs = run.settings.snapshots, run.settings.num_envs
    return TimeLeft(run.schedule, run.clock, run.counters, run.work, num_envs=envs, marks=marks)


@pytest.mark.parametrize("at", [0, 1000, 2003, 7000])
@pytest.mark.parametrize(
    "command",
    [
        ("pretrain", "num_train_frames=20010", "snapshots=[4002,10000,90000]"),
        ("pretrain", "num_train_frames=20010", "snapshots=[]", "evaluate=true", "eval_every_frames=3000"),
        FINETUNE,
        ("pretrain", "num_train_frames=20010", "seed_policy=actor", "num_seed_frames=0"),
        ("drq", "num_train_steps=8000", "eval_frequency=900", "num_train_iters=3", "snapshots=[]"),
    ],
)
def test_what_is_forecast_is_what_happens(command, at):
    run = Recorder(*command)
    seen = {"random step": 0, "step": 0}

    def collect(mode):
        seen["random step" if mode == "random" else "step"] += 1
        return type(run)._collect(run, mode)

    run.collector.step = collect
    while run.step < at:
        run.evaluate_if_due()
        run.iterate()
    before = {
        **seen,
        "update": run.updates,
        "evaluation": len(run.evaluated),
        "snapshot": len(run.snapshots),
    }
    forecast = left_of(run).estimate().pieces
    while not run.clock.over:
        run.evaluate_if_due()
        run.iterate()
    after = {**seen, "update": run.updates, "evaluation": len(run.evaluated), "snapshot": len(run.snapshots)}
    assert forecast == {kind: after[kind] - before[kind] for kind in after}


def test_a_run_looks_ahead_and_moves_its_line_between_updates_that_are_made_up_for():
    run = Recorder("pretrain", "num_train_frames=1010", "num_seed_frames=0")
    looked, ticks = [], []
    run.outlook.look = lambda: looked.append((run.step, run.updates))
    run.logger.tick = lambda frame: ticks.append((frame, run.updates))
    run.run()
    assert run.updates == 101
    assert [update for step, update in looked if step == 500][1:] == list(range(1, 101))
    assert [update for frame, update in ticks if frame == 1000][1:] == list(range(1, 101))


@pytest.mark.parametrize("envs", [2, 7, 64])
def test_with_many_environments_the_forecast_is_off_by_a_step_at_most(envs):
    run = Recorder("pretrain", "num_train_frames=100000", f"num_envs={envs}")
    forecast = left_of(run).estimate().pieces
    run.run()
    assert abs(forecast["update"] - run.updates) <= envs // 5 + 1
    assert abs(forecast["random step"] + forecast["step"] - run.step / envs) <= 1


def published(step=0, **counters):
    settings = typed("pretrain")
    clock = Clock("num_train_frames", "frames", settings.schedule.steps, 2, step)
    work = Work()
    return TimeLeft(settings.schedule, clock, Counters(**counters), work, num_envs=1, marks=settings.snapshots), work


def test_the_published_run_by_hand():
    left, work = published()
    assert not left.estimate().useful
    work.paces["random step"].add(0.05)
    assert not left.estimate().useful, "the seed phase says nothing of updates"
    left.tried(Trial(26.0, Acting(0.01, 0.02), Acting(0.01, 0.02), 0))
    estimate = left.estimate()
    assert estimate.useful and estimate.unknown == []
    assert estimate.pieces == {"random step": 2000, "step": 998_005, "update": 199_601, "evaluation": 0, "snapshot": 4}
    assert estimate.seconds == pytest.approx(2000 * 0.05 + 998_005 * 0.06 + 199_601 * 26)
    said = estimate.describe()
    assert said.startswith(
        "about 61 days: 199,601 updates of 26 s, 998,005 steps of 60 ms, 2,000 random steps of 50 ms"
    )
    work.paces["update"].add(20.0)
    assert left.estimate().each["update"] == 20.0, "the first real one counts more than the trial"


def test_a_resumed_run_goes_by_what_it_times_itself():
    left, work = published(step=500_000, updates=99_600)
    work.paces["step"].add(0.06)
    assert not left.estimate().useful
    work.paces["update"].add(26.0)
    estimate = left.estimate()
    assert estimate.pieces["random step"] == 0 and estimate.pieces["update"] == 100_001
    assert estimate.seconds == pytest.approx(500_005 * 0.06 + 100_001 * 26)


def test_evaluations_that_nobody_has_timed_are_named_and_others_counted():
    run = Recorder(*FINETUNE)
    left = left_of(run)
    run.work.paces["step"].add(0.1)
    run.work.paces["update"].add(1.0)
    estimate = left.estimate()
    assert estimate.useful and estimate.unknown == ["evaluations"] and "evaluations" in estimate.describe()
    run.work.paces["evaluation"].add(100.0)
    assert left.estimate().seconds == pytest.approx(estimate.seconds + 4 * 100)


def test_a_planner_that_is_to_come_counts_from_the_beginning():
    """Its actions take 1 s in training and 0.9 s in an evaluation, where the policy's take 0.01 s; a step 0.09 s."""
    run = Recorder(*FINETUNE, "seed_policy=random")
    left = left_of(run)
    run.work.paces["random step"].add(0.09)
    run.work.paces["evaluation"].add(50.0)
    left.tried(Trial(2.0, Acting(0.01, 0.01), Acting(1.0, 0.9), 2))
    wanted = {"random step": 0.09, "step": 1.09, "update": 2.0, "evaluation": 50.0 * 0.99 / 0.1}
    assert left.estimate().each == pytest.approx(wanted)
    run.work.paces["step"].add(0.1)  # not planned yet
    assert left.estimate().each == pytest.approx(wanted)
    left.changed()  # a skill is chosen
    assert left.estimate().each == pytest.approx(wanted)
    left.changed()  # planning begins: what was timed before is no measure, what is timed now is
    assert left.estimate().each == pytest.approx(wanted)
    run.work.paces["step"].add(1.5)
    run.work.paces["evaluation"].add(700.0)
    assert left.estimate().each == pytest.approx(wanted | {"step": 1.5, "evaluation": 700.0})


def test_a_change_without_a_trial_starts_the_means_anew():
    run = Recorder(*FINETUNE)
    left = left_of(run)
    for _ in range(100):
        run.work.paces["step"].add(0.1)
    left.changed()
    assert left.seconds_of("step") == 0.1
    run.work.paces["step"].add(1.0)
    assert left.seconds_of("step") == 1.0


def test_the_length_that_a_day_is_enough_for():
    left, work = published()
    work.paces["random step"].add(0.05)
    left.tried(Trial(26.0, Acting(0.01, 0.02), Acting(0.01, 0.02), 0))
    steps = left.steps_in(DAY)
    assert left.estimate(steps).seconds <= DAY < left.estimate(steps + 5).seconds
    assert left.steps_in(1e12) == left.clock.steps - 1
    assert left.steps_in(HOUR) < steps


@pytest.mark.parametrize(
    ("steps", "frames", "length"), [(18_432, 2, 36_000), (18_432, 1, 18_000), (999, 7, 6895), (5, 1, 5), (1, 2, 2)]
)
def test_a_length_is_given_in_two_figures_and_whole_steps(steps, frames, length):
    assert rounded(steps, frames) == length


def test_frames_and_counters_come_from_the_run_itself():
    run = SimpleNamespace(**vars(Recorder(*FINETUNE)))
    run.counters.updates_owed = 100
    assert left_of(run).estimate().pieces["update"] == 2601 + 100
