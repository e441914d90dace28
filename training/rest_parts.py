"""Builds what a run of ReST is made of from its settings."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agents.agent import Phase
from agents.rest.agent import RestAgent
from envs.autoreset import AutoresetVector
from envs.on_policy import Known, known, make_rollouts
from training.parts import TRAIN_ENVS
from training.settings import RestKeys
from training.skill_models import claim
from utils.latest import CONFIG_FILE
from utils.seeding import derive, seed_everything

AGENT = f"{RestAgent.__module__}.{RestAgent.__qualname__}"
"""What settings name the agent by."""


class RestParts(NamedTuple):
    """Agent and environments, and what is said of them."""

    agent: RestAgent
    envs: AutoresetVector
    spec: dict[str, Any]
    """As that of :class:`training.parts.Parts`."""
    notes: list[str]
    """What the user should know."""
    lineage: list[dict[str, Any]]
    """Empty: there is nothing to start from."""
    held: ExitStack
    """What is let go of at the end."""

    def abandon(self) -> None:
        """Nothing was made yet in the folder of a run that does not begin."""

    def close(self) -> None:
        """End the environments, and let other runs have the folder of models."""
        with self.held:
            self.envs.close()


def environment(settings: RestKeys) -> Known:
    """What is known of the environment of ``settings``."""
    return known(settings.task, settings.maze)


def build_rest(settings: RestKeys, run_dir: Path, phase: Phase, device: torch.device, source: None = None) -> RestParts:
    """Environments and agent, seeded by ``settings.seed``, and a folder of models that no other run writes to. Raises
    :class:`UserError`.
    """
    with claim(settings.models_dir(run_dir), fresh=not (run_dir / CONFIG_FILE).exists()) as held:
        envs = make_rollouts(
            environment(settings),
            settings.num_envs,
            seed=derive(settings.seed, TRAIN_ENVS),
            terminate_when_unhealthy=settings.terminate_when_unhealthy,
        )
        seed_everything(settings.seed)
        agent = build_rest_agent(settings, device)
        return RestParts(agent, envs, rest_spec(settings), _notes(settings), [], held.pop_all())


def build_rest_agent(settings: RestKeys, device: torch.device) -> RestAgent:
    """The agent of ``settings``, for its environment."""
    env = environment(settings)
    return RestAgent(settings, env.observed, env.actions, exclude=env.exclude, positions=env.axes, device=device)


def outline_rest_agent(settings: RestKeys) -> RestAgent:
    """As :func:`training.parts.outline_agent`: shapes and no memory, nothing is drawn from the random streams."""
    meta = torch.device("meta")
    with torch.random.fork_rng(devices=[]), meta:
        return build_rest_agent(settings, meta)


def rest_spec(settings: RestKeys) -> dict[str, Any]:
    """What is said in files of observations and actions."""
    env = environment(settings)
    return {"observation": [[env.observed], "<f4"], "action": [[env.actions], "<f4"]}


def _notes(settings: RestKeys) -> list[str]:
    longest = environment(settings).steps
    if settings.traj_len >= longest:
        return []
    return [f"`traj_len`={settings.traj_len} cuts the episodes of {settings.task}, which take up to {longest} steps"]
