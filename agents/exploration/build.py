"""Builds the exploration method an agent's YAML names."""

import importlib
import inspect
from typing import Any, get_type_hints

from agents.exploration.intrinsic_reward import IntrinsicReward, Sizes
from agents.nn.observations import is_image
from utils.errors import UserError


def import_named(key: str, path: str) -> Any:
    """What the import path ``path``, the value of ``key``, leads to. Raises :class:`UserError` if it leads nowhere."""
    module_name, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{key}={path} cannot be imported ({error}). Name it as package.module.Name.") from error


def method_class(path: str) -> type[IntrinsicReward]:
    """The class behind ``agent.method``, a dotted path such as ``agents.exploration.intrinsic_reward.TaskReward``."""
    found = import_named("agent.method", path)
    if not (inspect.isclass(found) and issubclass(found, IntrinsicReward)):
        raise UserError(f"agent.method={path} is not an IntrinsicReward; derive the class from it.")
    return found


def own_keys(method: type[IntrinsicReward]) -> dict[str, tuple[Any, Any]]:
    """The keys that a method reads of the agent's YAML, with type and default (``...`` for none): the parameters of its
    constructor besides ``sizes``. Their annotations carry the rules: ``icm_scale: Positive``.
    """
    _, *parameters = [
        p for p in inspect.signature(method).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    types = get_type_hints(method.__init__, include_extras=True)  # type: ignore[misc]
    return {p.name: (types.get(p.name, Any), ... if p.default is p.empty else p.default) for p in parameters}


def check_observations(method: type[IntrinsicReward], images: bool) -> None:
    """Raise :class:`UserError` if the method needs images and there are none."""
    if method.needs_images and not images:
        raise UserError(
            f"agent.method={method.__module__}.{method.__qualname__} needs images, and obs_type=states gives none. "
            "Use configs=dmc_pixels, or another agent."
        )


def check_skills(agent: str, method: type[IntrinsicReward]) -> None:
    """Raise :class:`UserError` if the method learns from stored skills, for data that hold none."""
    if method.needs_skills:
        raise UserError(
            f"agent={agent} learns from the skill that was followed at every step, and data that others have collected "
            "hold none. Pre-train it with dreamer_pretrain.py, or choose an agent that needs none: choreo finds skills "
            "in data."
        )


def build_method(agent: Any, sizes: Sizes) -> IntrinsicReward:
    """Construct the method of a section ``agent`` that has its keys (:func:`own_keys`).

    Raises :class:`UserError` where it needs images and observations are states.
    """
    method = method_class(agent.method)
    check_observations(method, is_image(sizes.obs_shape))
    return method(sizes, **{name: getattr(agent, name) for name in own_keys(method)})
