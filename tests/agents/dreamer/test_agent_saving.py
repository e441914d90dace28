import io

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny

from utils.errors import UserError

PARTS = {"encoder", "rssm", "decoder", "reward_head", "actor", "critic", "slow_critic", "method", "method_finetune"}
EMPTY = {"method", "method_finetune"}
ALWAYS = {"encoder", "rssm", "decoder"}


def through_a_file(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def trained(name="pretrain", *overrides, updates=2):
    agent = make_agent(tiny(name, *overrides), name)
    for i in range(updates):
        agent.update(make_batch(seed=i))
    return agent


def same(a, b):
    """Which modules hold equal tensors."""
    return {k for k in a if a[k] and all(torch.equal(a[k][n], b[k][n]) for n in a[k])}


# ---- snapshots


@pytest.mark.parametrize("agent_name", ["dreamer", "random_dreamer"])
@pytest.mark.parametrize("init_actor", [True, False])
@pytest.mark.parametrize("init_critic", [True, False])
def test_what_finetuning_loads(agent_name, init_actor, init_critic):
    source = trained("pretrain", f"agent={agent_name}")
    modules = through_a_file(source.snapshot_modules())
    assert set(modules) == PARTS
    target = make_agent(tiny("finetune", f"agent={agent_name}"), "finetune", seed=9)
    fresh = through_a_file(target.snapshot_modules())
    assert not same(modules, fresh)
    target.load_snapshot(modules, init_actor=init_actor, init_critic=init_critic)
    loaded = ALWAYS | ({"actor"} if init_actor else set()) | ({"critic", "slow_critic"} if init_critic else set())
    now = target.snapshot_modules()
    assert same(now, modules) == loaded
    assert same(now, fresh) == PARTS - loaded - EMPTY
    assert target.updates == 0
    states = [state for o in target._optimizers().values() for state in o.adam.state.values()]
    assert states and not any(value.any() for state in states for value in state.values())
    target.update(make_batch())


def test_loading_copies():
    """Training the loaded agent leaves the snapshot's tensors alone."""
    modules = trained().snapshot_modules()
    before = through_a_file(modules)
    target = make_agent(tiny("finetune"), "finetune", seed=9)
    target.load_snapshot(modules, init_actor=True, init_critic=True)
    target.update(make_batch())
    assert same(modules, before) == PARTS - EMPTY


@pytest.mark.parametrize(
    "overrides, module",
    [(("rssm.deter=8",), "rssm"), (("encoder.cnn_depth=2",), "encoder"), (("decoder.cnn_depth=2",), "decoder"),
     (("actor.units=5",), "actor"), (("actor.layers=2",), "actor")],
)  # fmt: skip
def test_a_misfit_is_named(overrides, module):
    modules = trained(updates=0).snapshot_modules()
    target = make_agent(tiny("finetune", *overrides), "finetune")
    with pytest.raises(UserError, match=f"snapshot's {module} does not fit"):
        target.load_snapshot(modules, init_actor=True, init_critic=False)


def test_a_misfit_that_is_not_loaded_does_not_matter():
    modules = trained(updates=0).snapshot_modules()
    target = make_agent(tiny("finetune", "actor.units=5", "critic.units=5", "reward_head.units=5"), "finetune")
    target.load_snapshot(modules, init_actor=False, init_critic=False)
    with pytest.raises(UserError, match="snapshot's critic"):
        target.load_snapshot(modules, init_actor=False, init_critic=True)


def test_a_missing_module_is_named():
    modules = trained(updates=0).snapshot_modules()
    del modules["actor"]
    with pytest.raises(UserError, match="snapshot has no actor"):
        make_agent(tiny("finetune"), "finetune").load_snapshot(modules, init_actor=True, init_critic=False)


# ---- resuming


CASES = [
    ("pretrain", ()),
    ("finetune", ("agent.reward_norm.momentum=0.9", "slow_target_update=2")),
    ("pretrain", ("agent=random_dreamer",)),
    ("pretrain", ("agent.method=agent_kit.Novelty", "+agent.novelty_units=8", "agent.reward_norm.momentum=0.9")),
]


@pytest.mark.parametrize("phase, overrides", CASES)
def test_a_resumed_agent_goes_on_bit_for_bit(phase, overrides):
    def more(agent):
        torch.manual_seed(77)
        return [agent.update(make_batch(seed=10 + i)).logged for i in range(3)]

    agent = trained(phase, *overrides, updates=3)
    state = through_a_file(agent.training_state())
    other = make_agent(tiny(phase, *overrides), phase, seed=9)
    other.load_training_state(state)
    assert other.updates == 3
    wanted, found = more(agent), more(other)
    for a, b in zip(wanted, found, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    a, b = agent.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_state_holds_plain_values_only():
    def check(value):
        if isinstance(value, dict):
            for v in value.values():
                check(v)
        elif isinstance(value, list | tuple):
            for v in value:
                check(v)
        else:
            assert value is None or isinstance(value, torch.Tensor | int | float | str | bool), type(value)

    check(trained(updates=1).training_state())


def test_the_reward_normaliser_is_part_of_the_state():
    agent = trained("pretrain", "agent.reward_norm.momentum=0.5")
    mag = agent.main.behavior.reward_norm.mag.item()
    assert mag != 1
    other = make_agent(tiny("pretrain", "agent.reward_norm.momentum=0.5"), seed=9)
    other.load_training_state(through_a_file(agent.training_state()))
    assert other.main.behavior.reward_norm.mag.item() == mag


# ---- names in files


def test_checkpoints_know_the_main_drive_by_the_names_from_before_there_were_drives():
    agent = trained("pretrain", "agent=diayn_dreamer", updates=0)
    state = agent.training_state()
    assert {key.partition(".")[0] for key in state["modules"]} == {"world_model", "behaviors", "method", "skills"}
    one_of_each = {"behaviors.main.actor.net.0.weight", "behaviors.main.slow_critic.net.0.weight", "skills.chosen"}
    one_of_each |= {"behaviors.main.reward_norm.mag", "method.classifier.net.0.weight"}
    assert one_of_each <= state["modules"].keys() and len(state["modules"]) == len(agent.state_dict())
    assert state["optimizers"].keys() == {"model", "actor", "critic", "method"}
