"""Training states, exact resume, and single skills."""

import copy
import io

import pytest
import torch
from rest_kit import OBS, make_rest, make_rollout

from utils.errors import UserError
from utils.nested import tensors_in

METHODS = ["rest", "diayn", "task", "random"]


def through_a_file(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def iterate(agent, times):
    """Iterations whose rollouts and noise follow from their number."""
    found = []
    for _ in range(times):
        torch.manual_seed(100 + agent.updates)
        found.append({k: v.item() for k, v in agent.learn(make_rollout(agent, seed=agent.updates)).logged.items()})
    return found


def same(a, b):
    ours, theirs = list(tensors_in(a.training_state())), list(tensors_in(b.training_state()))
    return len(ours) == len(theirs) and all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("changes", [{"method": m} for m in METHODS] + [{"init": "paper"},
                         {"rnd": {"obs": "normalised", "batch_size": 7}, "ppo": {"batch_size": 9}},
                         {"rnd": {"shared_target": False}, "same_start": False}])  # fmt: skip
def test_resuming_in_the_middle_of_a_turn_goes_on_bit_for_bit(changes):
    first = make_rest(changes)
    iterate(first, 5)
    assert first.turn.iteration == 1 or changes.get("method") == "diayn" or changes.get("init") == "paper"
    second = make_rest(changes, seed=5)
    second.load_training_state(through_a_file(first.training_state()))
    assert second.turn == first.turn and same(first, second)
    assert iterate(first, 4) == iterate(second, 4)
    assert same(first, second) and first.updates == second.updates == 9


@pytest.mark.parametrize("method", METHODS)
def test_all_that_an_iteration_changes_is_in_the_training_state_in_place(method):
    agent = make_rest({"method": method})
    iterate(agent, 4)
    live = list(tensors_in(agent.training_state()))
    before, updates = [x.clone() for x in live], agent.updates
    found = iterate(agent, 1)
    after = list(tensors_in(agent.training_state()))
    assert [x.data_ptr() for x in live] == [x.data_ptr() for x in after]
    assert any(not torch.equal(x, y) for x, y in zip(live, before, strict=True)) == (method != "random")
    with torch.no_grad():
        for x, y in zip(live, before, strict=True):
            x.copy_(y)
    agent.updates = updates
    assert iterate(agent, 1) == found


def test_one_skill_of_another_run():
    source, other = make_rest(), make_rest(seed=9)
    iterate(source, 4)
    iterate(other, 2)
    state = through_a_file(source.skill_state(1))
    assert set(state) == {"policy", "critic", "normalizer", "predictor", "target"}
    before = {name: value.clone() for name, value in other.state_dict().items()}
    kept = copy.deepcopy(state)
    other.load_skill(2, state)
    obs = torch.randn(7, OBS)
    assert torch.equal(source.act(obs, 1, "eval")[0], other.act(obs, 2, "eval")[0])
    assert torch.equal(source.densities.errors(obs, [1]), other.densities.errors(obs, [2]))
    moved = {name for name, value in other.state_dict().items() if not torch.equal(value, before[name])}
    assert {".".join(name.split(".")[:2]) for name in moved} == {
        "skills.2",
        "densities.predictors",
        "densities.targets",
    }
    assert all(name.startswith("densities.predictors.2") for name in moved if ".predictors." in name)
    other.load_training_state(source.training_state())
    assert all(torch.equal(a, b) for a, b in zip(tensors_in(state), tensors_in(kept), strict=True))


@pytest.mark.parametrize("method", ["diayn", "task", "random"])
def test_other_methods_have_no_densities(method):
    agent = make_rest({"method": method})
    assert agent.densities is None
    assert set(agent.skill_state(0)) == {"policy", "critic", "normalizer"}
    assert (agent.discriminator is not None) == (method == "diayn")


@pytest.mark.parametrize(
    "changes, arguments, part",
    [({"ppo": {"hid_sizes": [8, 8]}}, {}, "policy"), ({}, {"obs_dim": 6}, "policy"), ({}, {"exclude": 2}, "policy"),
     ({"rnd": {"outputs": 3}}, {}, "predictor"), ({"rnd": {"hid_sizes": [9]}}, {}, "predictor")],
)  # fmt: skip
def test_a_misfit_is_named(changes, arguments, part):
    state = make_rest().skill_state(0)
    with pytest.raises(UserError, match=f"{part} does not fit"):
        make_rest(changes, **arguments).load_skill(0, state)


def test_a_skill_without_densities_does_not_fit_an_agent_that_has_them():
    state = make_rest({"method": "task"}).skill_state(0)
    with pytest.raises(UserError, match="predictor does not fit"):
        make_rest().load_skill(0, state)
    make_rest({"method": "task"}).load_skill(0, make_rest().skill_state(0))  # what it has no use for is left
