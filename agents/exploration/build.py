"""Builds the exploration method an agent's YAML names."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from agents.exploration.intrinsic_reward import IntrinsicReward, Sizes
from utils.errors import UserError


def import_named(key: str, path: str) -> Any:
    """What the import path ``path``, the value of ``key``, leads to. Raises :class:`UserError` if it leads nowhere."""
    module_name, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{key}={path} cannot be imported ({error}). Name it as package.module.Name.") from error


def method_class(agent: Mapping[str, Any]) -> type[IntrinsicReward]:
    """The class behind ``agent.method``, a dotted path such as ``agents.exploration.intrinsic_reward.TaskReward``."""
    path = str(agent["method"])
    found = import_named("agent.method", path)
    if not (inspect.isclass(found) and issubclass(found, IntrinsicReward)):
        raise UserError(f"agent.method={path} is not an IntrinsicReward; derive the class from it.")
    return found


def check_keys(agent: Mapping[str, Any]) -> list[str]:
    """The constructor parameters of the method besides ``sizes`` that the agent's YAML gives.

    Raises :class:`UserError` for one that it lacks, and for skill options of a method without skills.
    """
    found = method_class(agent)
    _, *parameters = [
        p for p in inspect.signature(found).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in agent]
    if missing:
        raise UserError(
            f"configs/agent/{agent['name']}.yaml lacks {', '.join(missing)}, which {found.__name__} needs; add the key."
        )
    names = [p.name for p in parameters if p.name in agent]
    if "skill_dim" in agent and "skill_dim" not in names:
        raise UserError(
            f"agent.skill_dim={agent['skill_dim']}: agent={agent['name']} has no skills. Leave the key out, or choose "
            "an agent with skills, such as agent=diayn_dreamer."
        )
    return names


def build_method(agent: Mapping[str, Any], sizes: Sizes) -> IntrinsicReward:
    """Construct the method; its parameters besides ``sizes`` are the keys of the agent's YAML with the same names."""
    return method_class(agent)(sizes, **{name: agent[name] for name in check_keys(agent)})
