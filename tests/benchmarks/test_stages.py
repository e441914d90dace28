"""Stages add up to the whole, a nested one counts once, and the agent is left as it was."""

import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks import learner, stages

TINY = ["preset=debug", "device=cpu", "batch_size=2", "batch_length=3"]


class Hands:
    """A clock that only moves when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds


def test_time_goes_to_the_innermost_stage():
    hands = Hands()

    class Method:
        def score_imagined(self):
            hands.work(4)

    class Behavior:
        def update(self, method):
            hands.work(1)
            method.score_imagined()
            hands.work(2)

    main = SimpleNamespace(method=Method(), behavior=Behavior(), method_opt=None)
    agent = SimpleNamespace(drives={"main": main})

    def update():
        hands.work(8)
        main.behavior.update(main.method)
        hands.work(16)

    spent = stages.split_times(agent, update, 1, hands)
    assert {stage: value for stage, value in spent.items() if value} == {"behaviour": 3, "method": 4, "rest": 24}
    assert not vars(main.method) and not vars(main.behavior)


def test_the_update_of_median_time_is_shown():
    hands, durations = Hands(), iter([5.0, 1.0, 3.0])
    spent = stages.split_times(SimpleNamespace(), lambda: hands.work(next(durations)), 3, hands)
    assert sum(spent.values()) == 3


def test_what_raises_leaves_the_agent_as_it_was():
    class Model:
        def observe(self):
            raise RuntimeError

    agent = SimpleNamespace(world_model=Model())
    with pytest.raises(RuntimeError):
        stages.split_times(agent, lambda: agent.world_model.observe(), 1, Hands())
    assert not vars(agent.world_model)


def test_a_call_deep_below_that_was_replaced_before_is_put_back():
    hands = Hands()

    class Envs:
        def step(self):
            hands.work(1)

    own = Envs()
    own.step = replaced = lambda: hands.work(4)  # such as a captured one
    root = SimpleNamespace(collector=SimpleNamespace(envs={"a": Envs(), "b": own}))
    with stages.splitting(root, {"step": ("collector.envs.*.step", "collector.missing.step", "gone")}, hands) as split:
        for envs in root.collector.envs.values():
            envs.step()
        hands.work(2)
    assert split.seconds == {"step": 5, "rest": 2}
    assert vars(own) == {"step": replaced} and not vars(root.collector.envs["a"])


@pytest.mark.parametrize("name", ["deviation_dreamer", "lbs_dreamer"])
def test_every_stage_of_an_agent_is_found(name):
    agent, batch = learner.build(learner.settings([f"agent={name}", *TINY]), "off", torch.device("cpu"))
    spent = stages.split_times(agent, lambda: agent.update(batch), 1, time.process_time)
    assert set(spent) == {"method", "observe", "model loss", "model step", "behaviour", "rest"}
    assert all(value > 0 for value in spent.values())
    assert spent["rest"] < 0.5 * sum(spent.values())


def test_the_method_of_plain_dreamer_takes_no_time_to_speak_of():
    agent, batch = learner.build(learner.settings(TINY), "off", torch.device("cpu"))
    spent = stages.split_times(agent, lambda: agent.update(batch), 3, time.process_time)
    assert spent["method"] < 0.1 * sum(spent.values())
