"""From a plain configuration to a script's typed settings, checked one by one and together."""

import functools
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import create_model

from agents.settings import AgentSettings
from preflight.combinations import check_combinations
from training.offline_settings import NOT_SIMULATED, OfflineKeys
from training.parts import agent_class
from training.rest_parts import AGENT
from training.settings import OffPolicyKeys, RestKeys
from utils.folders import check_writable
from utils.rules import is_text, shown
from utils.settings import MissingKey, SettingError, fields_of, parse

K = TypeVar("K", OffPolicyKeys, OfflineKeys)


def read_settings(keys: type[K], plain: Mapping[str, Any]) -> K:
    """The settings ``plain`` of a script with ``keys``: they have the keys of the agent, too.

    Raises :class:`SettingError` for the first key that is missing, unknown or has a value it may not have, else for
    values that do not go together.
    """
    if "agent" not in plain:
        raise MissingKey("agent")
    schema = schema_for(keys, plain["agent"])
    try:
        settings = parse(schema, plain)
    except MissingKey as error:
        if not error.key.startswith("agent."):
            raise
        name = plain["agent"].get("name", "<agent>")
        raise SettingError(
            f"`{error.key}` is missing, and agent={name} needs it. Add it to configs/agent/{name}.yaml, which lacks it."
        ) from None
    resolved = settings.resolved()
    check_combinations(resolved)
    return resolved


def read_offline(keys: type[OfflineKeys], plain: Mapping[str, Any]) -> OfflineKeys:
    """The same of ``offline_train.py``, which has no environments."""
    return read_settings(keys, {**plain, **NOT_SIMULATED})


def read_rest(keys: type[RestKeys], plain: Mapping[str, Any]) -> RestKeys:
    """The same of ``rest_train.py``, whose agent is no choice and has its keys at the root."""
    settings = parse(keys, plain).resolved()
    given = settings.agent.name, settings.agent.target
    if given != (own := (settings.method, AGENT)):
        raise SettingError(
            f"`agent.name`={given[0]} with `agent._target_`={given[1]} is not allowed: `method`={own[0]} of this "
            f"script goes with {own[1]}. Leave both out."
        )
    _check_length(settings)
    check_writable("snapshot_base_dir", settings.snapshot_base_dir)
    return settings


def _check_length(settings: RestKeys) -> None:
    """Raise for a run of which the steps cannot be counted in 63 bits."""
    factors = ("epochs", "num_skills", "turn_iters", "num_envs", "traj_len")
    warmup = settings.warmup_rollouts * settings.num_envs * settings.traj_len
    if math.prod(getattr(settings, key) for key in factors) + warmup >= 2**63:
        key = max((*factors, "warmup_rollouts"), key=lambda key: getattr(settings, key))
        raise SettingError(f"`{key}`={getattr(settings, key)} makes a run of more than 2^63 steps. Lower it.")


def schema_for(keys: type[K], agent: Any) -> type[K]:
    """``keys`` with those of the agent that the section ``agent`` names."""
    if not isinstance(agent, Mapping):
        raise SettingError(f"`agent`={shown(agent)} is not allowed: it must be a section with the keys name, _target_.")
    for key in ("_target_", "name"):
        if key not in agent:
            raise SettingError(f"`agent.{key}` is missing, and every agent needs it. Add it to the agent's file.")
    if not is_text(agent["_target_"]):
        raise SettingError(f"`agent._target_`={shown(agent['_target_'])} is not allowed: it must be a text.")
    own: type[AgentSettings] = agent_class(agent["_target_"]).schema(agent)
    return _join(keys, own)


@functools.cache
def _join(keys: type[K], own: type[AgentSettings]) -> type[K]:
    if issubclass(keys, own):
        return keys
    section: Any = fields_of(own)["agent"].annotation
    return create_model(keys.__name__, __base__=(own, keys), agent=(section, ...))  # type: ignore[arg-type]
