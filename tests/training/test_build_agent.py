"""An agent is built from checked settings; what goes wrong in its own constructor is its author's to see."""

import pytest
import torch
from settings_kit import agent_settings

from agents.exploration.intrinsic_reward import IntrinsicReward
from training.parts import build_agent
from utils.errors import UserError

DEBUG = ("preset=debug", "device=cpu", "domain=walker")


class Misspelt(IntrinsicReward):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.width = {"width": 3}["with"]


class Refuses(IntrinsicReward):
    def __init__(self, sizes):
        super().__init__(sizes)
        raise ValueError("no width")


def build(config):
    return build_agent(agent_settings(config), (3, 64, 64), 6, "pretrain", torch.device("cpu"))


@pytest.mark.parametrize(("method", "error", "text"), [("Misspelt", KeyError, "'with'"), ("Refuses", ValueError, "no")])
def test_a_methods_own_error_is_shown_as_it_is(settings, method, error, text):
    config = settings("pretrain", *DEBUG, f"agent.method=test_build_agent.{method}")
    with pytest.raises(error, match=text) as caught:
        build(config)
    assert not isinstance(caught.value, UserError)
    assert caught.traceback[-1].name == "__init__" and caught.traceback[-1].path.name == "test_build_agent.py"
