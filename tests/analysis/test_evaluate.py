"""evaluate.py: what is played, the same starts for all, its files, and what it refuses."""

import csv
import json

import imageio.v3
import numpy as np
import pytest
import torch
from run_kit import SHORT
from short_kit import cut_after
from snapshot_kit import made_by

from agents.skills import NoSkills, OneHot
from analysis import evaluate
from analysis.evaluate import main, to_play
from analysis.returns import OWN, Episode, summary
from utils.errors import UserError


class Agent:
    name, device = "some", torch.device("cpu")

    def __init__(self, skills, tries=False):
        self.shown, self.tries_skills = skills, tries


def test_what_is_played():
    assert list(to_play(Agent(NoSkills()), "all")) == [OWN]
    three = [f"skill {i}" for i in range(3)]
    assert list(to_play(Agent(OneHot(3), tries=True), "all")) == three
    assert list(to_play(Agent(OneHot(3)), "all")) == [OWN, *three]
    assert list(to_play(Agent(OneHot(3)), "none")) == [OWN]
    assert to_play(Agent(OneHot(3), tries=True), "2,0")["skill 2"].tolist() == [0, 0, 1]
    for agent, asked in (
        (Agent(OneHot(3), tries=True), "none"),
        (Agent(NoSkills()), "1"),
        *((Agent(OneHot(3)), asked) for asked in ("3", "-1", "", "one", "0,,1")),
    ):
        with pytest.raises(UserError, match=f"skills={asked}"):
            to_play(agent, asked)


def test_numbers_by_hand():
    found = [
        Episode(name, i, r, 9)
        for name, own in {"a": [1, 2, 3, 90], "b": [5, 5, 5, 7]}.items()
        for i, r in enumerate(own)
    ]
    report = summary([*found, Episode(OWN, 0, 1000.0, 9)])
    assert report["best_skill"] == "a"  # by its mean, 24
    assert report["played"]["a"]["mean"] == 24 and report["played"]["a"]["iqm"] == 2.5
    assert report["played"]["b"]["std"] == pytest.approx(np.sqrt(0.75))
    assert "best_skill" not in summary([Episode(OWN, 0, 1.0, 9)])


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    made_by(folder / "skills.pt", "pretrain", *SHORT, "agent=diayn_dreamer", "agent.skill_dim=3", "domain=walker")
    made_by(folder / "plain.pt", "pretrain", *SHORT, "agent=lbs_dreamer", "domain=walker")
    made_by(folder / "drq.pt", "drq", "preset=debug", "task=walker_walk", "num_skills=2", "action_repeat=100")
    return folder


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(evaluate, "build_env", cut_after(4))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "name, played, repeat",
    [("skills", [f"skill {i}" for i in range(3)], 10), ("plain", [OWN], 10), ("drq", ["skill 0", "skill 1"], 100)],
)
def test_every_episode_is_written_and_can_be_repeated(snapshots, tmp_path, capsys, name, played, repeat):
    words = [f"snapshot={snapshots / name}.pt", "task=walker_run", "episodes=2", "seed=5"]
    for take in ("one", "two"):
        assert main([*words, f"csv={tmp_path / take}.csv", f"json={tmp_path / take}.json"]) == 0
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()
    with (tmp_path / "one.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["episode"], row["played"]) for row in rows] == [(str(e), one) for e in range(2) for one in played]
    assert {row["length"] for row in rows} == {str(4 * repeat)} and {row["task"] for row in rows} == {"walker_run"}
    report = json.loads((tmp_path / "one.json").read_text())
    assert report["task"] == "walker_run" and list(report["played"]) == played
    for one in played:
        returns = [float(row["return"]) for row in rows if row["played"] == one]
        assert report["played"][one]["returns"] == returns
    shown = capsys.readouterr().out
    assert "walker_run" in shown and all(one in shown for one in played)


def test_all_begin_alike_and_another_seed_elsewhere(snapshots, monkeypatch):
    starts = []
    original = evaluate.play

    def watched(agent, env, skill, **more):
        starts.append(original(agent, env, skill, steps=2))
        return starts[-1]

    monkeypatch.setattr(evaluate, "play", watched)
    for seed in (0, 1):
        assert main([str(snapshots / "skills.pt"), "skills=0,2", "episodes=2", f"seed={seed}"]) == 0
    assert main([str(snapshots / "plain.pt"), "episodes=2"]) == 0
    first = [tuple(one.states[0]) for one in starts]
    assert first[0] == first[1] and first[2] == first[3] and first[0] != first[2]
    assert first[8:] == [first[0], first[2]]  # another agent, the same starts
    assert not {*first[:4]} & {*first[4:8]}
    assert not np.array_equal(starts[0].states[-1], starts[1].states[-1])


@pytest.mark.parametrize(
    "words, said",
    [
        (["snapshot=none.pt"], ["none.pt"]),
        ([], ["snapshot="]),
        (["skills.pt", "snapshot=plain.pt"], ["one snapshot"]),
        (["skills.pt", "episodes=0"], ["episodes=0"]),
        (["skills.pt", "episodes=many"], ["episodes", "many"]),
        (["skills.pt", "seed=-1"], ["seed=-1"]),
        (["skills.pt", "task=walker_rum"], ["walker_rum", "walker_run"]),
        (["skills.pt", "task=jaco_reach_top_left"], ["jaco_reach_top_left", "domain=walker"]),
        (["skills.pt", "skills=7"], ["skills=7", "0 to 2"]),
        (["skills.pt", "episode=3"], ["episode", "--episodes"]),
        (["skills.pt", "csv=skills.pt"], ["csv", "skills.pt"]),
    ],
)
def test_refusals_are_one_line(snapshots, monkeypatch, capsys, words, said):
    monkeypatch.chdir(snapshots)
    before = sorted(snapshots.iterdir())
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and all(part in error for part in said)
    assert sorted(snapshots.iterdir()) == before


@pytest.mark.usefixtures("short")
def test_a_film_of_all_that_was_played(snapshots, tmp_path, capsys):
    video = tmp_path / "grid.gif"
    words = [f"snapshot={snapshots / 'skills.pt'}", "episodes=1", f"video={video}", "size=48"]
    assert main(words) == 0
    frames = np.asarray(imageio.v3.imread(video))
    assert frames.shape[:3] == (5, 102, 102)  # three skills in two columns, the reset and four steps
    assert main(words) == 0  # over an earlier one of its own
    video.write_bytes(b"no film")
    assert main(words) == 1 and str(video) in capsys.readouterr().err
    assert main([*words[:2], f"video={tmp_path / 'a.avi'}"]) == 1


def test_intervals_by_hand():
    table = summary([Episode("a", i, value, 9) for i, value in enumerate((0.0, 10.0))] + [Episode("b", 0, 3.0, 9)])
    # of two episodes a quarter of all resamples are (0, 0) and a quarter (10, 10)
    assert table["played"]["a"]["interval"] == [0, 10] and table["played"]["b"]["interval"] is None
