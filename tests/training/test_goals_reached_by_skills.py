"""Goals that skills reach: what is played, counted and written; whole runs, killed and resumed."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kill_kit import Killed, kill_at, rows
from PIL import Image
from run_kit import DEBUG, SHORT
from snapshot_kit import made_by

from agents.skills import OneHot
from entry.start import launch
from envs.goals import reach_goals
from training.clock import Clock
from training.evaluators import Stage
from training.goals import GoalLog, GoalViews, ReachedGoals, Target, Wandering
from utils.errors import UserError
from utils.statistics import wilson

FAST = (*DEBUG, "action_repeat=20", "batch_length=8", "save_video=false")
MW = (*FAST, "agent=choreo", "configs=mw_pixels")
PLACES = [Target(4, (0.1, 0.2, 0.3)), Target(11, (-0.1, 0.4, 0.2))]


class Toy:
    """Pays in an episode what its goal is worth, if the skill of its first step is that of the goal's number."""

    def __init__(self):
        self.aimed, self.played, self.unwrapped = None, [], self

    def aim(self, goal):
        self.aimed = goal

    def reset(self):
        self.steps = 0
        return {"observation": np.zeros(2, np.float32)}, {}

    def step(self, action):
        self.steps += 1
        self.played.append((self.aimed, int(action[0])))
        reward = float(self.aimed == 11 and action[0] == 1)
        return {"observation": np.zeros(2, np.float32)}, reward, False, self.steps == 5, {}


class Follower:
    """Acts by the number of the skill it is given."""

    device, shown = torch.device("cpu"), OneHot(3)
    modes: list = []  # noqa: RUF012

    def start(self, count):
        return SimpleNamespace(skill=None, _replace=lambda skill: SimpleNamespace(skill=skill, _replace=self._next))

    def _next(self, skill):
        return SimpleNamespace(skill=skill, _replace=self._next)

    def act(self, observation, acting, is_first, mode):
        self.modes.append(mode)
        return acting.skill.argmax(-1, keepdim=True).float(), acting

    def skill_to(self, observation):
        return torch.eye(3)[int(observation[0])]


class Logged(list):
    """Of a logger: what was logged, and said."""

    def log(self, name, value, prefix):
        self.append((name, value))

    def say(self, line):
        self.append(("said", line))


def stage_of(env, logger, stopped=lambda: False):
    clock = Clock("num_train_frames", "frames", 100, 2)
    counters = SimpleNamespace(evaluations=0)
    return Stage(Follower(), env, 1, logger, clock, counters, stopped, lambda number, of: None, None)


def evaluator(folder, episodes=2, *, views=None, period=2):
    log = GoalLog(folder)
    mode = "random_skills" if views is None else "nearest_code"
    made = {"aims": True, "period": period, "most_skills": 1, "skill_steps": 1, "mode": mode, "views": views}
    paid = lambda played, target: played.reward > 0  # noqa: E731
    return ReachedGoals(episodes, PLACES, reached=paid, log=log, run_dir=folder, **made), log


def written(folder):
    with (folder / "goals.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_goal_is_tried_with_fresh_random_skills(tmp_path):
    env, logger = Toy(), Logged()
    made, log = evaluator(tmp_path, 30)
    Follower.modes.clear()
    assert made.evaluate(stage_of(env, logger))
    log.flush()
    assert set(Follower.modes) == {"sample"} and env.aimed is None
    assert [goal for goal, _ in env.played] == [4] * 150 + [11] * 150
    skills = np.array([skill for _, skill in env.played]).reshape(60, 5)
    assert (skills[:, 0] == skills[:, 1]).all() and (skills[:, 2] == skills[:, 3]).all()  # held for two steps
    assert len({tuple(row) for row in skills}) > 15
    found = written(tmp_path)
    assert [(row["goal"], row["episode"]) for row in found] == [(g, str(i)) for g in ("4", "11") for i in range(30)]
    assert [(row["x"], row["y"], row["z"]) for row in found[::30]] == [("0.1", "0.2", "0.3"), ("-0.1", "0.4", "0.2")]
    hits = [int((row == 1).any()) for row in skills[30:]]
    assert [int(row["reached"]) for row in found] == [0] * 30 + hits
    assert [float(row["return"]) for row in found[30:]] == (skills[30:] == 1).sum(1).tolist()
    assert found[0]["skills"] == "; ".join(f"skill {k}" for k in skills[0, ::2])
    logged = dict(logger)
    low, high = wilson(sum(hits), 60)
    assert (logged["success_rate"], logged["goals_reached"]) == (sum(hits) / 60, 1)
    assert (logged["success_low"], logged["success_high"]) == (low, high)
    assert Image.open(tmp_path / "goals_0.png").format == "PNG"


def test_the_skill_of_the_nearest_code_is_held(tmp_path):
    env, logger, looked = Toy(), Logged(), []

    def look(other, goal):
        looked.append(goal)
        return np.array([1.0 if goal == 11 else 2.0], np.float32)

    views = GoalViews(lambda: SimpleNamespace(close=lambda: looked.append("closed")), look)
    made, _ = evaluator(tmp_path, views=views)
    Follower.modes.clear()
    for _ in range(2):
        env.played.clear()
        assert made.evaluate(stage_of(env, logger))
        assert env.played == [(4, 2)] * 10 + [(11, 1)] * 10 and set(Follower.modes) == {"show"}
    assert looked == [4, 11, "closed"]  # once for all evaluations
    assert dict(logger)["success_rate"] == 0.5 and {row["skills"] for row in written(tmp_path)} == {
        "skill 1",
        "skill 2",
    }


def test_one_that_is_stopped_leaves_nothing(tmp_path):
    env, logger = Toy(), Logged()
    made, _ = evaluator(tmp_path)
    assert not made.evaluate(stage_of(env, logger, lambda: len(env.played) >= 13))
    assert env.aimed is None and logger == [] and list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_drawn_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("training.goals.goal_map", lambda *given, **more: 1 / 0)
    logger = Logged()
    made, _ = evaluator(tmp_path)
    assert made.evaluate(stage_of(Toy(), logger))
    assert "goals_0.png" in dict(logger)["said"] and len(written(tmp_path)) == 4


def test_a_log_goes_back_to_its_checkpoint(tmp_path):
    made, log = evaluator(tmp_path)
    made.evaluate(stage_of(Toy(), Logged()))
    log.flush()
    state = log.state_dict()
    made.evaluate(stage_of(Toy(), Logged()))
    log.load_state_dict(state)
    assert len(written(tmp_path)) == 4
    log.load_state_dict(None)
    assert not (tmp_path / "goals.csv").exists()


def test_wandering_begins_anew_with_every_episode():
    """The period counts within an episode, whatever its length."""
    for _ in range(3):
        drawn = Wandering(OneHot(5), 4, torch.device("cpu"))
        held = [int(drawn(step).argmax()) for step in range(6)]
        assert len(set(held[:4])) == 1 and held[4] == held[5] and len(drawn.drawn) == 2


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots") / "snapshot_20.pt"
    return made_by(path, "pretrain", *MW, "domain=mw")


@pytest.mark.parametrize("mode", ["random_skills", "nearest_code"])
def test_a_run_on_meta_world(settings, tmp_path, snapshot, mode):
    words = [f"snapshot={snapshot}", "task=mw_reach", "num_train_frames=20", "eval_goals=True", f"goal_mode={mode}"]
    run = launch(settings("finetune", *MW, *words, "task_id=3", "seed=2"), tmp_path / "run", "finetune")
    assert run.frame == 20 and run.updates == 0
    (row,) = rows(tmp_path / "run" / "eval.csv")
    assert {"success_rate", "success_low", "success_high", "goals_reached"} <= row.keys()
    (found,) = written(tmp_path / "run")
    np.testing.assert_allclose([float(found[k]) for k in "xyz"], reach_goals(2)[3, 3:])
    assert (
        row["episode_length"] == "500"
        and found["goal"] == "3"
        and found["reached"] == str(int(float(row["success_rate"])))
    )
    assert (tmp_path / "run" / "goals_0.png").is_file()


def test_a_run_on_jaco(settings, tmp_path):
    slow = (*SHORT, "agent=choreo", "batch_length=8", "save_video=false")
    made = made_by(tmp_path / "jaco" / "snapshot_20.pt", "pretrain", *slow, "domain=jaco")
    words = [f"snapshot={made}", "task=jaco_reach_top_right", "num_train_frames=50", "eval_goals=True"]
    launch(settings("finetune", *slow, *words), tmp_path / "run", "finetune")
    (found,) = written(tmp_path / "run")
    assert [float(found[k]) for k in "xyz"] == [0.09, 0.09, 0.001]
    assert int(found["reached"]) == (float(found["return"]) > 1e-4)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_run_on_jaco_toward_the_brick(settings, tmp_path, discrete):
    slow = (*SHORT, "agent=metra_dreamer", f"agent.discrete={str(discrete).lower()}", "batch_length=8")
    slow = (*slow, "save_video=false")
    made = made_by(tmp_path / "jaco" / "snapshot_20.pt", "pretrain", *slow, "domain=jaco")
    words = [f"snapshot={made}", "task=jaco_reach_top_right", "num_train_frames=50", "eval_goals=True"]
    launch(settings("finetune", *slow, *words, "goal_mode=toward_goal"), tmp_path / "run", "finetune")
    (found,) = written(tmp_path / "run")
    assert found["skills"] == "" and int(found["reached"]) == (float(found["return"]) > 1e-4)


@pytest.mark.parametrize("mode", ["random_skills", "toward_goal"])
def test_a_run_on_poses_of_walker(settings, tmp_path, mode):
    slow = (*SHORT, "agent=metra_dreamer", "batch_length=8", "save_video=false")
    made = made_by(tmp_path / "walker" / "snapshot_20.pt", "pretrain", *slow, "domain=walker")
    words = [f"snapshot={made}", "task=walker_run", "num_train_frames=50", "eval_goals=True", f"goal_mode={mode}"]
    launch(settings("finetune", *slow, *words), tmp_path / "run", "finetune")
    found = written(tmp_path / "run")
    assert [int(row["goal"]) for row in found] == list(range(8)) and float(found[0]["z"]) == pytest.approx(1.3)
    # a start is any posture, so an untrained agent may come by one of them, and by all of them not
    assert {row["reached"] for row in found} <= {"0", "1"} and sum(int(row["reached"]) for row in found) < 8
    assert Image.open(tmp_path / "run" / "goals_0.png").format == "PNG"


def test_fine_tuning_on_meta_world_says_how_often_it_succeeds(settings, tmp_path, snapshot):
    words = [f"snapshot={snapshot}", "task=mw_reach", "num_train_frames=20", "num_eval_episodes=2"]
    launch(settings("finetune", *MW, *words), tmp_path / "run", "finetune")
    (row,) = rows(tmp_path / "run" / "eval.csv")
    assert 0 <= float(row["success_rate"]) <= 1 and not (tmp_path / "run" / "goals.csv").exists()


def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(settings, tmp_path, snapshot, monkeypatch):
    """In the middle of an episode, after an evaluation of goals that is then repeated or kept."""
    words = (f"snapshot={snapshot}", "task=mw_reach", "num_train_frames=1520", "eval_goals=True", "task_id=1")
    config = settings(
        "finetune", *MW, *words, "checkpoint_every_minutes=0.01", "eval_every_frames=1000", "recon_every_frames=100000"
    )
    whole = launch(config, tmp_path / "whole", "finetune")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 7)
        launch(config, tmp_path / "killed", "finetune")
    resumed = launch(config, tmp_path / "killed", "finetune", resume=True)
    for name, value in whole.agent.training_state()["modules"].items():
        assert torch.equal(value, resumed.agent.training_state()["modules"][name]), name
    for name in ("train.csv", "goals.csv"):
        assert rows(tmp_path / "whole" / name) == rows(tmp_path / "killed" / name) != [], name
    assert whole.updates > 10


def test_a_snapshot_of_another_body_is_refused(settings, tmp_path, snapshot):
    words = [f"snapshot={snapshot}", "task=walker_run"]
    with pytest.raises(UserError, match="mw"):
        launch(settings("finetune", *FAST, "agent=choreo", *words), tmp_path / "run", "finetune")
