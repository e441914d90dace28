"""The on-policy run: whole runs of rest_train.py, what they write, and that they go on exactly."""

import csv
import itertools
import os
import random

import pytest
import torch
from kill_kit import Kill, assert_same_runs, differing, in_child, play, rows
from run_kit import DEBUG
from settings_kit import typed

from analysis import coverage, skill_probe
from entry.resumed import resumed_settings
from entry.settings import composed
from entry.start import launch
from entry.stored import stored_settings
from training import checkpoint
from training.layouts import REST
from training.on_policy import OnPolicyRun
from training.run import CHECKPOINT, GaveUp
from training.skill_models import find, model_path, turns
from utils.errors import UserError

CALLS = {"play": 40, "learn": 1500, "checkpoint": 2000, "models": 2000}
"""Function calls in there, about."""


@pytest.fixture
def config(settings, tmp_path):
    """``config(*words)``: a small run whose models go to a folder of the test's."""

    def made(*words):
        return settings("rest", *DEBUG, f"snapshot_base_dir={tmp_path / 'models'}", "use_tb=false", *words)

    return made


def models_of(run):
    return sorted(str(one.path.relative_to(run.models)) for one in turns(run.models))


@pytest.mark.parametrize("method", ["rest", "diayn", "random", "task"])
@pytest.mark.parametrize("env", ["Hopper", "DoorMaze"])
def test_every_method_runs_to_its_end_on_bodies_and_in_mazes(config, tmp_path, method, env):
    run = launch(config(f"method={method}", f"env={env}"), tmp_path / "run", "rest")
    with (tmp_path / "run" / "train.csv").open() as file:
        log = list(csv.DictReader(file))
    assert len(log) == len(run.agent.schedule) == run.updates == run.step
    assert log[-1]["TotalEnvInteracts"] == log[-1]["frame"] == str(run.step * 2 * 100)
    assert list(log[0])[: len(REST.columns["train"])] == list(REST.columns["train"])
    last = {"rest": "LossRND", "diayn": "diayn_loss", "task": "LossPi", "random": "AverageCumulativeReward"}[method]
    assert log[-1][last] != ""
    # the published program skips the first skill's turn in the first cycle
    assert models_of(run) == (["0/0/1"] if method != "rest" else []) + ["0/1/1", "0/2/1", "1/0/1", "1/1/1", "1/2/1"]


def test_a_folder_of_models_holds_every_skill_and_only_what_changed_takes_room(config, tmp_path):
    run = launch(config(), tmp_path / "run", "rest")
    folders = [run.models / name for name in ("0/1/1", "0/2/1", "1/0/1", "1/1/1", "1/2/1")]
    for before, after in itertools.pairwise(folders):
        same = [os.path.samefile(model_path(before, k), model_path(after, k)) for k in range(3)]
        assert same == [k != int(after.parts[-2]) for k in range(3)]
    for skill in range(3):
        found = checkpoint.load(model_path(folders[-1], skill), "snapshot")["modules"]
        assert differing(found, run.agent.skill_state(skill)) == []


def test_models_of_some_cycles_only(config, tmp_path):
    run = launch(config("epochs=4", "keep_every=2", "turn_iters=1"), tmp_path / "run", "rest")
    assert {name.partition("/")[0] for name in models_of(run)} == {"0", "2", "3"}


def test_a_run_that_is_stopped_anywhere_goes_on_exactly(config, tmp_path, monkeypatch):
    asked = config("env=Hopper")
    whole = launch(asked, tmp_path / "whole", "rest")
    draw = random.Random(1)
    folder, goes_on = tmp_path / "stopped", False
    collect = OnPolicyRun.iterate
    for stop_at in (2, 5, 8):

        def iterate(run, stop_at=stop_at):
            if run.step >= stop_at:
                # in the middle of the rollout, or between it and what is learned from it
                steps = iter([False] * (draw.randint(0, 99) if stop_at != 5 else 100))
                monkeypatch.setattr(
                    "training.on_policy.collect",
                    lambda envs, agent, skill, length, stopped: _interrupted(run, envs, agent, skill, length, steps),
                )
            collect(run)

        with monkeypatch.context() as patch:
            patch.setattr(OnPolicyRun, "iterate", iterate)
            with pytest.raises(KeyboardInterrupt):
                launch(asked, folder, "rest", resume=goes_on)
        monkeypatch.undo()
        goes_on = True
    resumed = launch(asked, folder, "rest", resume=True)
    assert resumed.step == whole.step
    assert rows(folder / "train.csv") == rows(tmp_path / "whole" / "train.csv")
    left, right = (checkpoint.load(path / CHECKPOINT) for path in (tmp_path / "whole", folder))
    for part in ("agent", "envs", "random", "counters"):
        assert differing(left[part], right[part]) == []
    assert models_of(whole) == models_of(resumed)


def _interrupted(run, envs, agent, skill, length, steps):
    """A rollout in the middle of which Ctrl-C is pressed, or after which."""
    from training.rollouts import collect

    def stopped():
        if next(steps, None) is None:
            run.stop.received = True
        return run.stop.received

    made = collect(envs, agent, skill, length, stopped)
    run.stop.received = True
    return made


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 10))])
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(config, tmp_path, number):
    draw = random.Random(number)
    method = ("rest", "diayn")[number % 2]
    asked = config(f"method={method}", f"env={('HalfCheetah', '4RoomMaze', 'Ant')[number % 3]}", "epochs=3")
    kills = [
        Kill(draw.randint(1, 4) + 4 * at, place, draw.randint(1, CALLS[place]))
        for at, place in enumerate(draw.sample(sorted(CALLS), 2))
    ]
    for name, planned in (("whole", [None]), ("killed", [*kills, None])):
        for attempt, kill in enumerate(planned):
            log = tmp_path / f"{name}.log"
            base = {"snapshot_base_dir": str(tmp_path / f"{name}_models")}
            code = in_child(play, asked | base, tmp_path / name, "rest", attempt > 0, kill, log)
            assert code == (0 if kill is None else -9), log.read_text()[-3000:]
    assert_same_runs(tmp_path / "whole", tmp_path / "killed", apart_from=("config.snapshot_base_dir",))


def test_an_iteration_with_a_loss_that_is_no_number_is_taken_back(config, tmp_path, monkeypatch):
    seen = []

    def refit(self, skill, rows, optimizer):
        found = original(self, skill, rows, optimizer)
        seen.append(skill)
        return found._replace(losses={"rnd_loss": torch.tensor(float("nan"))}) if len(seen) == 5 else found

    from agents.rest.density import Densities

    original = Densities.refit
    monkeypatch.setattr(Densities, "refit", refit)
    with pytest.raises(GaveUp, match="LossRND|rnd_loss"):
        launch(config(), tmp_path / "run", "rest")
    kept = checkpoint.load(tmp_path / "run" / CHECKPOINT)
    assert kept["counters"]["step"] == kept["agent"]["updates"] == 4
    run = launch(config(), tmp_path / "run", "rest", resume=True)
    assert run.agent.finished and all(torch.isfinite(p).all() for p in run.agent.parameters())


def test_what_is_left_out_counts_as_a_turn(config, tmp_path, monkeypatch):
    from agents.rest.density import Densities

    original = Densities.refit
    calls = itertools.count(1)

    def refit(self, skill, rows, optimizer):
        found = original(self, skill, rows, optimizer)
        return found._replace(losses={"rnd_loss": torch.tensor(float("nan"))}) if next(calls) == 4 else found

    monkeypatch.setattr(Densities, "refit", refit)
    run = launch(config("on_nan=skip"), tmp_path / "run", "rest")
    assert run.agent.finished and run.counters.skipped == 1 and run.updates == run.step - 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("num_skills=1", ("num_skills=1", "2")),
        ("epochs=0", ("epochs=0", "1")),
        ("env=HalfCheeta", ("env=HalfCheeta", "env=HalfCheetah")),
        ("env=nowhere.yaml", ("nowhere.yaml", "walls")),
        ("method=rset", ("method=rset", "rest, diayn, random, task")),
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(config, tmp_path, words, named):
    with pytest.raises(UserError) as refused:
        launch(config(words), tmp_path / "run", "rest")
    said = str(refused.value)
    assert all(part in said for part in named), said
    assert not (tmp_path / "run").exists() and not (tmp_path / "models").exists()


def test_a_checkpoint_of_another_environment_is_refused(config, tmp_path):
    launch(config("env=Hopper", "epochs=1"), tmp_path / "one", "rest")
    launch(config("env=Walker2d", "epochs=1"), tmp_path / "two", "rest")
    (tmp_path / "two" / CHECKPOINT).write_bytes((tmp_path / "one" / CHECKPOINT).read_bytes())
    with pytest.raises(UserError, match="task=Hopper"):
        launch(config("env=Walker2d", "epochs=2"), tmp_path / "two", "rest", resume=True)


@pytest.mark.parametrize("after", ["gone", "changed"])
def test_a_run_keeps_the_maze_it_began_with(config, tmp_path, after):
    maze = tmp_path / "mine.yaml"
    square = "walls: [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]\nsteps: 10\n"
    maze.write_text(f"{square}start: [0.5, 0.5]\n")
    asked = config(f"env={maze}", "traj_len=20")
    whole = launch(asked, tmp_path / "whole", "rest")
    launch(asked | {"epochs": 1}, tmp_path / "run", "rest")
    maze.write_text(f"{square}start: [0.2, 0.2]\n") if after == "changed" else maze.unlink()
    on = resumed_settings(tmp_path / "run", asked, ["epochs=2"], "rest")
    run = launch(on, tmp_path / "run", "rest", resume=True)
    assert run.step == whole.step and differing(run.agent.training_state(), whole.agent.training_state()) == []


def test_what_may_change_on_resume_is_named_and_is_of_this_script(config, tmp_path):
    asked = config("env=DoorMaze", "epochs=1")
    launch(asked, tmp_path / "run", "rest")
    with pytest.raises(UserError) as refused:
        resumed_settings(tmp_path / "run", asked | {"seed": 9}, ["seed=9"], "rest")
    named = str(refused.value).partition("may change ")[2].partition(";")[0].split(", ")
    assert "epochs" in named and set(named) <= set(asked)


def test_the_newest_models_are_found_and_others_named(config, tmp_path):
    for name in ("2026-01-01T00-00-00", "2026-01-01T00-00-01"):
        launch(config("epochs=1"), tmp_path / name, "rest")
    base = tmp_path / "models"
    newest = find(base, None, None, None)
    assert newest.path == base / "2026-01-01T00-00-01" / "0" / "2" / "1"
    assert find(base, "2026-01-01T00-00-00", 0, 1).path == base / "2026-01-01T00-00-00" / "0" / "1" / "1"
    for asked, named in (
        (("2026-01-01T00-00-02", None, None), "2026-01-01T00-00-01"),
        ((None, 3, None), "epoch=3"),
        ((None, None, 0), "1, 2"),
    ):
        with pytest.raises(UserError) as refused:
            find(base, *asked)
        assert named in str(refused.value)
    with pytest.raises(UserError, match="rest_train.py"):
        find(tmp_path / "nothing", None, None, None)


@pytest.mark.parametrize(("seconds", "advised"), [(3.0, False), (100_000.0, True)])
def test_a_long_run_says_how_long_and_what_takes_less(config, tmp_path, monkeypatch, capsys, seconds, advised):
    monkeypatch.setattr(OnPolicyRun, "_paces", lambda self: (seconds, 2 * seconds))
    asked = config("preset=published", "num_envs=1", "traj_len=5", "epochs=1", "num_skills=2", "turn_iters=8")
    small = {"ppo": asked["ppo"] | {"train_pi_iters": 1, "train_v_iters": 1}, "rnd": asked["rnd"] | {"iters": 1}}
    launch(asked | small | {"choices": {"preset": "published"}}, tmp_path / "run", "rest")
    said = capsys.readouterr().out
    assert "time: about" in said and ("preset=small" in said) == advised


def test_models_of_a_sweeps_jobs_have_names_of_their_own(settings, tmp_path):
    found = typed("rest", *DEBUG, f"snapshot_base_dir={tmp_path}")
    assert found.models_dir(tmp_path / "exp_sweep" / "2026-01-01" / "3") == tmp_path / "2026-01-01_3"
    assert found.models_dir(tmp_path / "2026-01-01") == tmp_path / "2026-01-01"


def test_other_tools_say_that_these_are_not_for_them(config, tmp_path, capsys):
    run = launch(config("epochs=1"), tmp_path / "run", "rest")
    model = model_path(next(turns(run.models)).path, 0)
    assert coverage.main([str(tmp_path / "run")]) == 1 and "without a replay" in capsys.readouterr().err
    assert skill_probe.main([str(model)]) == 1 and "RestAgent" in capsys.readouterr().err
    with pytest.raises(UserError) as refused:
        composed("finetune", [f"snapshot={model}"])
    said = str(refused.value)
    assert "agent=rest" in said and "rest_train.py" in said and "Start it" not in said


def test_a_run_that_was_moved_goes_on_with_its_own_models(config, tmp_path):
    first = launch(config("epochs=1"), tmp_path / "one", "rest")
    (tmp_path / "one").rename(tmp_path / "two")
    stored = stored_settings(tmp_path / "two", config())
    assert stored["timestamp"] == "one"
    run = launch(stored | {"epochs": 2}, tmp_path / "two", "rest", resume=True)
    assert run.models == first.models and len(models_of(run)) == 5
    assert not list(run.models.rglob("previous_*"))
