"""What a run on wandb is called by."""

from types import SimpleNamespace

import pytest

from entry.scripts import SCRIPTS


@pytest.mark.parametrize(
    ("phase", "domain", "task", "env_factory", "subject"),
    [
        ("pretrain", "walker", "walker_stand", None, "walker"),  # the published name: this one is meant by none
        ("pretrain", "walker", "walker_run", None, "walker_run"),
        ("pretrain", "my_envs", "none", "my_envs.make", "my_envs"),
        ("pretrain", "my_envs", "hop", "my_envs.make", "my_envs_hop"),
        ("finetune", "walker", "walker_run", None, "walker_run"),
        ("drq", "cartpole", "cartpole_swingup", None, "cartpole_swingup"),
    ],
)
def test_it_carries_the_task(phase, domain, task, env_factory, subject):
    settings = SimpleNamespace(domain=domain, task=task, env_factory=env_factory)
    assert SCRIPTS[phase].keys.subject.fget(settings) == subject
