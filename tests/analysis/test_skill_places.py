"""Places of 1 m, of states and of the skills of a snapshot."""

import json

import numpy as np
import pytest
import torch
from run_kit import SHORT
from snapshot_kit import made_by

from agents.skills import Cube, NoSkills, OneHot, UnitSphere
from analysis.coverage import main
from analysis.places import ROOTS, positions, visited
from analysis.skill_coverage import even_skills, skill_coverage
from utils.errors import UserError

CPU = torch.device("cpu")


def at(domain, size, places):
    states = np.zeros((len(places), size))
    states[:, list(ROOTS[domain])] = np.array(places, float).reshape(len(places), -1)
    return states


PUBLISHED = [(0.2, 0.3), (0.9, 0.99), (-0.1, 0.3), (-0.9, 0.3), (1, 0.3), (-1, -0.001)]


def test_squares_are_counted_by_floor_as_published():
    """Truncation would put (0.2, 0.3) and (-0.1, 0.3) into one square."""
    states = at("quadruped", 57, PUBLISHED)
    assert visited("quadruped", states) == visited("quadruped", states[::-1]) == 4
    assert visited("cheetah", at("cheetah", 18, [x for x, _ in PUBLISHED])) == 3


def test_only_the_root_counts_and_what_is_not_finite_is_left_out():
    states = at("walker", 18, [0.5, 2.5, 2.7])
    states[:, [0, *range(2, 18)]] = np.arange(3)[:, None] * 7.0
    assert visited("walker", states) == 2 and positions("walker", states).tolist() == [[0.5], [2.5], [2.7]]
    states[0, 5] = np.nan
    assert visited("walker", states) == 1
    assert visited("walker", np.zeros((0, 18))) == 0
    with pytest.raises(UserError, match="domain=jaco.*cheetah"):
        visited("jaco", np.zeros((1, 31)))


@pytest.mark.parametrize("domain", ["walker", "cheetah", "hopper", "quadruped", "humanoid", "humanoid_CMU", "dog"])
def test_the_root_is_where_the_simulator_has_it(domain):
    from envs.custom_dmc_tasks import load
    from envs.make import DOMAINS

    physics = load(domain, DOMAINS[domain].primal, 1, False).physics
    body = "root" if domain == "humanoid_CMU" else "torso"
    for number, axis in zip(ROOTS[domain], "xy", strict=False):
        before = physics.named.data.xpos[body, axis]
        with physics.reset_context():
            physics.data.qpos[number] += 3.0
        assert physics.named.data.xpos[body, axis] == pytest.approx(before + 3.0)


def test_skills_are_spread_evenly_or_drawn():
    assert even_skills(OneHot(3), 7, CPU).argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert even_skills(NoSkills(), 2, CPU).shape == (2, 0)
    torch.manual_seed(0)
    for space in (UnitSphere(3), Cube(3)):
        drawn = even_skills(space, 5, CPU)
        assert len(torch.unique(drawn, dim=0)) == 5
    assert torch.allclose(even_skills(UnitSphere(3), 5, CPU).norm(dim=1), torch.ones(5))


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    made = {}
    for domain, agent in (("cheetah", "agent=metra_dreamer"), ("quadruped", "agent=diayn_dreamer")):
        made[domain] = folder / f"{domain}.pt"
        made_by(made[domain], "pretrain", *SHORT, agent, "agent.skill_dim=3", f"domain={domain}")
    return made


@pytest.mark.parametrize(("domain", "columns"), [("cheetah", 1), ("quadruped", 2)])
def test_every_state_of_every_episode_counts(snapshots, domain, columns):
    found = skill_coverage(snapshots[domain], 4, seed=3)
    assert len(found.followed) == len(found.names) == found.facts["episodes"] == 4
    assert all(path.shape == (len(found.followed[0]), columns) for path in found.followed)
    every = np.floor(np.concatenate(found.followed))
    assert found.facts["places"] == len({tuple(place) for place in every.tolist()}) >= 1
    again, other = skill_coverage(snapshots[domain], 4, seed=3), skill_coverage(snapshots[domain], 4, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(found.followed, again.followed, strict=True))
    assert not np.array_equal(found.followed[0], other.followed[0])
    assert (found.facts["bins"] is None) == (domain == "cheetah")
    assert found.names == ["skill 0", "skill 1", "skill 2", "skill 0"] or domain == "cheetah"


@pytest.mark.parametrize("domain", ["cheetah", "quadruped"])
def test_the_command_says_writes_and_draws_it(snapshots, tmp_path, capsys, domain):
    words = [str(snapshots[domain]), "skills=3", f"json={tmp_path}/a.json", f"png={tmp_path}/b.png"]
    assert main([word if i == 0 else f"--{word}" for i, word in enumerate(words)]) == 0
    said, told = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert f"3 episodes  {told['places']} places of 1 m" in said and "floor" not in said.splitlines()[0]
    assert told["floor"] == "default" and told["task"].startswith(domain)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.png", "b.pdf"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--skills", "0"], "--skills=0"),
        (["--seed", "-1"], "--seed=-1"),
        (["--png", "a.jpg"], "--png=a.jpg"),
        (["x.pt", "--json", "a.json"], "--json=a.json is for one snapshot"),
    ],
)
def test_what_is_not_possible(snapshots, capsys, words, told):
    assert main([str(snapshots["cheetah"]), *words]) == 1
    assert told in capsys.readouterr().err


def test_skills_of_drq_are_played_too(tmp_path):
    path = made_by(tmp_path / "drq.pt", "drq", "preset=debug", "task=cheetah_run", "num_skills=2", "action_repeat=100")
    found = skill_coverage(path, 3)
    assert found.names == ["skill 0", "skill 1", "skill 0"] and found.facts["task"] == "cheetah_run"
    assert [path.shape for path in found.followed] == [(11, 1)] * 3


def test_a_run_writes_no_figure(tmp_path, capsys):
    assert main([str(tmp_path), "--png", "a.png"]) == 1
    assert "is no snapshot" in capsys.readouterr().err
