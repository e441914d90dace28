"""What is asked of an agent, and what an update says of itself."""

import pytest
import torch

from agents.agent import ASKED, Updated
from agents.dreamer.agent import DreamerAgent
from agents.drq.agent import DrQAgent


def test_every_protocol_contributes_to_what_is_asked():
    one_of_each = {"act", "recorded", "shown", "collects", "update", "adapt", "training_state", "load_snapshot"}
    assert one_of_each | {"learn", "graph_key", "compilable"} <= set(ASKED)
    assert not [name for name in ASKED if name.startswith("_")]


@pytest.mark.parametrize("kind", [DreamerAgent, DrQAgent])
def test_the_agents_have_all_of_it(kind):
    assert [name for name in ASKED if not hasattr(kind, name)] == []


def named(*losses, metrics=()):
    return Updated(*({name: torch.zeros(()) for name in names} for names in (losses, metrics)))


def test_updates_add_up_in_the_order_in_which_they_arose():
    whole = Updated.of(named("b", metrics=["x"]), named(), named("a", "c", metrics=["y"]))
    assert list(whole.losses) == ["b", "a", "c"] and list(whole.metrics) == ["x", "y"]
    assert list(whole.logged) == ["b", "a", "c", "x", "y"]
    other = whole.prefixed("skill_")
    assert list(other.logged) == ["skill_b", "skill_a", "skill_c", "skill_x", "skill_y"]
    assert list(whole.losses) == ["b", "a", "c"]


@pytest.mark.parametrize("second", [named("a"), named(metrics=["a"])])
def test_a_name_is_not_used_twice(second):
    with pytest.raises(AssertionError, match="a"):
        Updated.of(named("a"), second)
