"""Which keys a configuration must have, and which it may have: what a run reads, no more and no less."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from agents.agent import ASKED
from agents.dreamer.agent import DreamerAgent
from agents.exploration.build import check_keys
from preflight.unknown_key import hint
from utils.config import flatten, get
from utils.errors import UserError
from utils.rules import shown

FINETUNE_KEYS = ("snapshot_ts", "custom_snap_dir", "init_actor", "init_critic", "save_ft_model")
AGENT_KEYS = ("agent.name", "agent._target_")
DREAMER_KEYS = (
    "agent.method",
    "agent.grad_heads",
    "agent.actor_ent",
    "agent.reward_norm.momentum",
    "agent.reward_norm.scale",
    "agent.reward_norm.eps",
    "agent.reference",
    "agent.decoder_elu_output",
    "agent.entropy_in_targets",
)
SKILL_KEYS = ("agent.update_skill_every_step", "agent.num_init_frames", "agent.skill_choice")
OPTIONAL_SKILL_KEYS = ("agent.skill_actor_ent", "agent.train_before_choice")

RUN_KEYS = ("hydra", "choices", "phase")
"""What Hydra and the scripts add to a configuration."""


def check_missing(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise :class:`UserError` if one of ``keys`` outside the agent, or one its class needs, is not there."""
    for key in keys:
        if key.startswith("agent."):
            continue
        if lost := _lost(config, key):
            raise UserError(f"{lost} is missing, and a run needs it. Leave ~{lost} out, or set {key}=<value>.")
    _need(config, AGENT_KEYS)
    if issubclass(_agent_class(config["agent"]), DreamerAgent):
        _need(config, DREAMER_KEYS)
        _need(config, SKILL_KEYS if "skill_dim" in check_keys(config["agent"]) else ())
        _need(config, ("agent.method_opt.lr",) if "method_opt" in config["agent"] else ())


def dreamer_keys(config: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that the script of ``config`` has: only fine-tuning has ``FINETUNE_KEYS``.

    Also of a configuration that lacks ``snapshot_ts``, by which others tell.
    """
    asked = any(key in config for key in FINETUNE_KEYS)
    finetuning = config["phase"] == "finetune" if "phase" in config else asked
    return [key for key in keys if finetuning or key not in FINETUNE_KEYS]


def _need(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    for key in keys:
        if lost := _lost(config, key):
            name = config.get("agent", {}).get("name", "<agent>")
            raise UserError(f"{lost} is missing, and agent={name} needs it. Add it to configs/agent/{name}.yaml.")


def _lost(config: Mapping[str, Any], key: str) -> str:
    """``key``, or the section around it, where that is not there either; empty when it is there."""
    node: Any = config
    parts = key.split(".")
    for count, part in enumerate(parts, 1):
        if part not in node:
            return ".".join(parts[:count])
        node = node[part]
    return ""


def _agent_class(agent: Mapping[str, Any]) -> type:
    """The class behind ``agent._target_``. Raises :class:`UserError` for what is no agent."""
    path = agent["_target_"]
    module_name, _, class_name = path.rpartition(".")
    try:
        # not Hydra's get_class, which logs the error besides raising it
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever the module does when it is imported
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"agent._target_={path} cannot be imported ({reason}). Name package.module.Class.") from error
    if not inspect.isclass(found):
        raise UserError(f"agent._target_={path} is not a class. Name package.module.Class.")
    if missing := [name for name in ASKED if not hasattr(found, name)]:
        raise UserError(f"agent._target_={path} is no agent: it lacks {', '.join(missing)} of agents.agent.Agent.")
    return found


def check_unknown(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise :class:`UserError` for a key that nothing reads: besides ``keys``, the agent's method has its parameters.

    What an agent without a method reads is its own affair.
    """
    agent, known = config["agent"], set(keys)
    if "method" in agent:
        parameters = check_keys(agent)
        known |= {f"agent.{name}" for name in parameters}
        if "skill_dim" not in parameters:
            known -= {*SKILL_KEYS, *OPTIONAL_SKILL_KEYS}
    sections = {key[:at] for key in known for at, letter in enumerate(key) if letter == "."}
    for name in flatten(config):
        own = name.partition(".")[0] in RUN_KEYS or (name.startswith("agent.") and "method" not in agent)
        if own or name in known or name in sections or name.rpartition(".")[0] in known:
            continue
        raise UserError(
            f"{name}={shown(get(config, name))}: there is no key {name}, nothing reads it.{hint(name, known)}"
        )
