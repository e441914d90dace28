"""Snapshots, training states, updates that are taken back."""

import copy
import io

import pytest
import torch
from agent_kit import copies
from drq_kit import BATCH, STACK, make_drq, transitions

from training.learner import Kept, Learner, NumericalFault
from utils.errors import UserError
from utils.nested import tensors_in

METRA = {"method": "metra", "discrete": False}
CIC = {"method": "cic", "discrete": False, "knn_k": 2}
RND = {"method": "rnd", "num_skills": 0, "rnd_cnn_kernels": [3, 3], "rnd_cnn_depth": 2, "rnd_rep_dim": 3}
APT = {"method": "apt", "num_skills": 0, "knn_k": 2}
PARTS = {"actor", "critic", "critic_target", "temperature", "discriminator", "skills"}


def through_a_file(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def trained(updates=3, **changes):
    agent = make_drq(**changes)
    for seed in range(updates):
        agent.update(transitions(seed=seed, skills=agent.skill_dim))
    return agent


def same(a, b):
    """Names of the parameters of two agents that are equal."""
    theirs = dict(b.named_parameters())
    return {name for name, p in a.named_parameters() if torch.equal(p, theirs[name])}


def parts_of(agent):
    """Of a snapshot."""
    without = set() if agent.skill_dim else {"discriminator", "skills"}
    return PARTS - without if agent.method is None else PARTS - without - {"discriminator"} | {"method"}


@pytest.mark.parametrize("changes", [{}, {"num_skills": 0}, {"reference": True}, METRA, CIC, RND, APT])
def test_a_snapshot_acts_and_rewards_as_the_agent_saved(changes):
    source = trained(**changes)
    modules = through_a_file(source.snapshot_modules())
    assert set(modules) == parts_of(source)
    other = make_drq(seed=9, **changes)
    assert not same(source, other)
    other.load_weights(modules)
    assert same(source, other) == {name for name, _ in source.named_parameters()}
    if source.method is not None:  # running moments are no parameters
        mine, theirs = (agent.method.state_dict() for agent in (source, other))
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    assert other.actor.encoder.convs.layers[0].weight is other.critic.encoder.convs.layers[0].weight


@pytest.mark.parametrize("init_actor", [True, False])
@pytest.mark.parametrize("init_critic", [True, False])
def test_what_is_loaded_from_a_snapshot(init_actor, init_critic):
    source, other = trained(), make_drq(seed=9)
    other.load_snapshot(through_a_file(source.snapshot_modules()), init_actor=init_actor, init_critic=init_critic)
    convs = {f"encoder.convs.{name}" for name, _ in source.critic.encoder.convs.named_parameters()}
    assert len(convs) == 8
    want = {f"critic.{name}" for name in convs}
    want |= {name for name, _ in source.named_parameters() if init_actor and name.startswith("actor.")}
    want |= {name for name, _ in source.named_parameters() if init_critic and name.startswith("critic")}
    assert same(source, other) == want
    # a fresh target begins with the convolutions of its critic
    assert same(source.critic, other.critic_target) >= (set() if init_critic else convs)
    before = copies(source)
    other.update(transitions())
    assert all(torch.equal(p, before[name]) for name, p in source.named_parameters())


@pytest.mark.parametrize(
    "changes, part",
    [({"size": 21}, "actor"), ({"actor_hidden_dim": 5}, "actor"), ({"num_skills": 4}, "actor"),
     ({"skill_critic": False}, "critic"), ({"discriminator_features": "critic"}, "discriminator")],
)  # fmt: skip
def test_a_misfit_is_named(changes, part):
    modules = make_drq().snapshot_modules()
    with pytest.raises(UserError, match=f"snapshot's {part} does not fit"):
        make_drq(**changes).load_weights(modules)


@pytest.mark.parametrize("changes", [{}, METRA, CIC, RND, APT])
def test_resuming_goes_on_bit_for_bit(changes):
    first = trained(3, **changes)
    state = through_a_file(first.training_state())
    second = make_drq(seed=5, **changes)
    second.load_training_state(state)
    assert second.updates == 3
    for agent in (first, second):
        torch.manual_seed(7)
        agent.found = [agent.update(transitions(seed=seed, skills=agent.skill_dim)).logged for seed in range(4, 8)]
    assert same(first, second) == {name for name, _ in first.named_parameters()}
    for a, b in zip(first.found, second.found, strict=True):
        assert {k: v.item() for k, v in a.items()} == {k: v.item() for k, v in b.items()}
    assert second.actor.encoder.convs.layers[0].weight is second.critic.encoder.convs.layers[0].weight


class Batches:
    """Stands for a replay whose second batch has a reward that is not a number."""

    class Sampler:
        state = 0

    def __init__(self):
        self.sampler = self.Sampler()

    def sample(self):
        batch = transitions(seed=self.sampler.state)
        if self.sampler.state == 1:
            batch["reward"] = batch["reward"] * float("nan")
        self.sampler.state += 1
        return batch


def test_an_update_with_nan_is_taken_back_whole():
    agent = make_drq(extrinsic_coeff=1.0)
    learner = Learner(agent, Batches())
    learner.update()
    before = copy.deepcopy(agent.training_state())
    with pytest.raises(NumericalFault, match="critic_loss is nan"):
        learner.update()
    assert agent.updates == 1
    for a, b in zip(tensors_in(agent.training_state()), tensors_in(before), strict=True):
        assert torch.equal(a, b)


def test_all_that_an_update_changes_is_in_the_training_state_in_place():
    """The tensors kept before the first update are the ones that change, and putting them back undoes it all."""
    agent = make_drq()
    kept = Kept(agent)
    live = list(tensors_in(agent.training_state()))
    before = [x.clone() for x in live]
    kept.store()
    agent.update(transitions())
    after = list(tensors_in(agent.training_state()))
    assert [x.data_ptr() for x in live] == [x.data_ptr() for x in after]
    changed = sum(not torch.equal(x, y) for x, y in zip(live, before, strict=True))
    assert changed >= len(live) - 1  # all but the skill chosen for good
    kept.put_back()
    assert agent.updates == 0 and all(torch.equal(x, y) for x, y in zip(live, before, strict=True))


def test_loading_leaves_what_was_loaded_alone():
    modules = make_drq().snapshot_modules()
    kept = through_a_file(modules)
    other = make_drq(seed=9)
    other.load_weights(modules)
    other.update(transitions())
    flat, want = list(tensors_in(modules)), list(tensors_in(kept))
    assert all(torch.equal(a, b) for a, b in zip(flat, want, strict=True))
    assert transitions()["observation"].shape[:2] == (BATCH, STACK + 1)
