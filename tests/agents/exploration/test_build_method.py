from collections.abc import Sequence

import pytest
from agent_kit import Novelty, tiny
from settings_kit import agent_settings

from agents.exploration.build import build_method, method_class
from agents.exploration.intrinsic_reward import IntrinsicReward, RandomActions, Sizes, TaskReward
from utils.errors import UserError
from utils.rules import Fraction

SIZES = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
HERE = "agents.exploration.intrinsic_reward"


def section(method, **keys):
    """A section ``agent`` of that method."""
    config = tiny("pretrain")
    config["agent"] |= {"name": "x", "method": method, **keys}
    return agent_settings(config).agent


@pytest.mark.parametrize("name, cls", [("TaskReward", TaskReward), ("RandomActions", RandomActions)])
def test_builds_what_the_yaml_names(name, cls):
    method = build_method(section(f"{HERE}.{name}"), SIZES)
    assert type(method) is cls and method.sizes == SIZES and method.skills.dim == 0
    assert list(method.parameters()) == []


def test_parameters_come_from_the_yaml_by_name():
    method = build_method(section("agent_kit.Novelty", novelty_units=7, actor_ent=1e-4), SIZES)
    assert type(method) is Novelty and method.net[0].weight.shape == (7, 1224)


class WithDefault(IntrinsicReward):
    def __init__(self, sizes, neighbours: int = 12, noise: Fraction = 0.5, steps: Sequence[int] = ()):
        super().__init__(sizes)
        self.neighbours, self.noise = neighbours, noise


def test_defaults_hold_unless_the_yaml_says_otherwise():
    method = build_method(section("test_build_method.WithDefault", noise=0.1), SIZES)
    assert (method.neighbours, method.noise) == (12, 0.1)


@pytest.mark.parametrize(
    ("key", "value"), [("noise", 1.5), ("noise", "low"), ("neighbours", 1.5), ("neighbours", True)]
)
def test_annotations_are_rules(key, value):
    with pytest.raises(UserError) as refused:
        section("test_build_method.WithDefault", **{key: value})
    assert f"agent.{key}=" in str(refused.value)


def test_a_missing_key_is_named():
    with pytest.raises(UserError) as refused:
        section("agent_kit.Novelty")
    assert "agent.novelty_units" in str(refused.value)


def test_a_key_that_the_method_does_not_have_is_named():
    with pytest.raises(UserError) as refused:
        section("agent_kit.Novelty", novelty_units=7, novelty_unit=3)
    assert "agent.novelty_unit=3" in str(refused.value)


@pytest.mark.parametrize("path", ["agent_kit.NotAMethod", "agents.nn.networks.preprocess_image", "math.pi"])
def test_other_things_are_no_methods(path):
    with pytest.raises(UserError, match="not an IntrinsicReward"):
        method_class(path)


@pytest.mark.parametrize("path", [f"{HERE}.TaskRewards", "agents.exploration.nowhere.X", "TaskReward", "", "."])
def test_what_cannot_be_imported_is_named(path):
    with pytest.raises(UserError, match=rf"agent\.method={path} cannot be imported"):
        method_class(path)


def test_the_base_states_what_it_does_not_do():
    base = IntrinsicReward(SIZES)
    assert base.scores == "none" and base.acts == "actor" and base.loss(None) is None and base.finetune_state() == {}
    assert base.after_update(0, None) is None and not base.reads_view
    with pytest.raises(TypeError, match="IntrinsicReward"):
        base.score_replay(None)
    with pytest.raises(TypeError, match="IntrinsicReward"):
        base.score_imagined(None)
    assert RandomActions(SIZES).acts == "uniform"
    assert TaskReward(SIZES).acts == "actor"
