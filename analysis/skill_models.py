"""The agent of a folder of models, as ``rest_train.py`` writes them at the end of every turn."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from agents.rest.agent import RestAgent
from envs.on_policy import known
from training import checkpoint
from training.rest_parts import AGENT, build_rest_agent, outline_rest_agent
from training.restored import misfit
from training.settings import RestKeys
from training.skill_models import Turned, model_path
from utils.errors import UserError
from utils.settings import SettingError, parse, pick


class Restored(NamedTuple):
    """What a folder of models holds."""

    agent: RestAgent
    settings: RestKeys


def restore_skills(turned: Turned, env: str | None = None) -> Restored:
    """All skills of a folder, on the CPU.

    Raises :class:`UserError` where a model is missing, damaged, of another agent, or of another environment than
    ``env``, if that is named.
    """
    first = model_path(turned.path, 0)
    settings = _settings(checkpoint.load(first, "snapshot"), str(first))
    if env is not None and known(env).name != settings.task:
        raise UserError(
            f"env={env}: the models in {turned.path} are of env={settings.task}. Name that, or leave it out."
        )
    outline = outline_rest_agent(settings)  # a file that asks for gigabytes is refused before anybody allocates them
    saved = [_modules(model_path(turned.path, skill), outline, skill, first) for skill in range(outline.num_skills)]
    with torch.random.fork_rng(devices=[]):
        agent = build_rest_agent(settings, torch.device("cpu"))
    for skill, modules in enumerate(saved):
        agent.load_skill(skill, modules)
    return Restored(agent, settings)


def _modules(path: Path, outline: RestAgent, skill: int, first: Path) -> dict[str, Any]:
    """The state dicts in ``path``, which fit the agent whose settings are those in ``first``."""
    modules: dict[str, Any] = checkpoint.load(path, "snapshot")["modules"]
    if found := misfit(modules, outline.skill_state(skill)):
        raise UserError(f"{path} does not fit the settings in {first}: {found}. Take models of one run.")
    return modules


def _settings(content: dict[str, Any], path: str) -> RestKeys:
    stored = content["config"]
    if stored["agent"]["_target_"] != AGENT:
        raise UserError(f"{path} is of agent={stored['agent']['name']}, not of rest_train.py. Name models of that.")
    try:
        return parse(RestKeys, pick(RestKeys, stored)).resolved()
    except SettingError as error:
        raise UserError(f"the settings in {path} cannot be used: {error}") from error
