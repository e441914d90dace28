"""Agents of snapshots, and whether what a file holds fits the agent that is to take it.

What is compared is an agent without memory, so a file that asks for gigabytes is refused before anybody allocates them.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from agents.agent import Agent, Phase
from agents.settings import AgentSettings
from training.parts import agent_class, build_agent, outline_agent
from utils.errors import UserError
from utils.own_code import foreign_in, options, refuse_unnamed
from utils.plain import leaves
from utils.settings import SettingError, parse, pick

FREE = ("param_groups", "method_finetune")
"""Parts of an agent's state that older versions wrote otherwise, or not at all; nothing large is among them."""


def restore_agent(content: Mapping[str, Any], *, untrained: bool = False, named: Collection[str | None] = ()) -> Agent:
    """The agent of a snapshot's ``content`` on the CPU, to act as it did; fresh weights with ``untrained``.

    Raises :class:`UserError` when it cannot be built, its weights do not fit, or its code is neither this project's nor
    among the import paths that are ``named``.
    """
    config, spec = content["config"], content["spec"]
    refuse_unnamed(config, named, "the snapshot", options)
    shape, action_dim = tuple(spec["observation"][0]), spec["action"][0][0]
    settings, outline = _outlined(config, shape, action_dim, content["phase"])
    if outline is not None and (found := misfit(content["modules"], outline.snapshot_modules())):
        raise UserError(f"the snapshot's weights do not fit its own settings: {found}. Take another one.")
    agent = build_agent(settings, shape, action_dim, content["phase"], torch.device("cpu"))
    if not untrained:
        agent.load_weights(content["modules"])
    return agent


def _outlined(
    config: Mapping[str, Any], shape: tuple[int, ...], action_dim: int, phase: Phase
) -> tuple[AgentSettings, Agent | None]:
    """The settings of a file's agent, and that agent without memory; None for one of the user's own, who answers for
    its size and is shown what its constructor raises.
    """
    try:
        schema = agent_class(config["agent"]["_target_"]).schema(config["agent"])
        settings = parse(schema, pick(schema, config))
        if has_foreign_agent(config):
            return settings, None
        return settings, outline_agent(settings, shape, action_dim, phase)
    except SettingError as error:
        raise UserError(f"the snapshot's settings cannot be used: {error}") from error
    except UserError:
        raise
    except Exception as error:  # what is allowed value by value may still be no agent
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"the snapshot's settings make no agent ({reason}). Take another one.") from error


def has_foreign_agent(config: Mapping[str, Any]) -> bool:
    """Whether the agent, its method or its drives are of the user's own."""
    return any(key.startswith("agent.") for key in foreign_in(config))


def misfit(saved: Any, wanted: Any) -> str | None:
    """The first tensor or value in ``wanted`` that ``saved`` lacks, or has in another form; None if all is there."""
    found = dict(leaves(saved))
    for name, value in leaves(wanted):
        if any(part in FREE for part in name.split(".")):
            continue
        if name not in found:
            return f"{name} is missing"
        if (has := _form(found[name])) != (needs := _form(value)):
            return f"{name} is {has}, and has to be {needs}"
    return None


def _form(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
