"""What the value of a configuration key must be: rules, and the check that names the first value that breaks one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from utils.config import get
from utils.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What a value must be."""

    wanted: str
    holds: Callable[[Any], bool]


def check_values(config: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise :class:`UserError` for the first value that breaks its rule; keys the configuration lacks are skipped."""
    for key, rule in rules.items():
        try:
            value = get(config, key)
        except (KeyError, TypeError):
            continue
        if not rule.holds(value):
            raise UserError(f"{key}={value} is not allowed: it must be {rule.wanted}.")


def is_int(value: Any) -> bool:
    """A whole number and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def choice(*options: Any) -> Rule:
    """One of ``options``, of the same type."""
    return Rule(
        "one of " + ", ".join(str(o) for o in options), lambda v: v in options and type(v) in map(type, options)
    )


def ints(value: Any, low: int) -> bool:
    """A list of whole numbers, ``low`` or more."""
    return isinstance(value, list) and all(is_int(v) and v >= low for v in value)


COUNT = Rule("a whole number above 0", lambda v: is_int(v) and v > 0)
WHOLE = Rule("a whole number, 0 or more", lambda v: is_int(v) and v >= 0)
POSITIVE = Rule("a number above 0", lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Rule("a number, 0 or more", lambda v: is_number(v) and v >= 0)
NUMBER = Rule("a number", is_number)
FRACTION = Rule("a number from 0 to 1", lambda v: is_number(v) and 0 <= v <= 1)
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("a text", lambda v: isinstance(v, str) and v != "")
OPTIONAL_TEXT = Rule("a text or null", lambda v: v is None or (isinstance(v, str) and v != ""))
KERNELS = Rule("a list of whole numbers above 0", lambda v: bool(v) and ints(v, 1))
MARKS = Rule("a list of frame counts above 0, such as [100000,500000]", lambda v: ints(v, 1))


def optional(rule: Rule) -> Rule:
    """``rule``, or null."""
    return Rule(f"{rule.wanted}, or null", lambda v: v is None or rule.holds(v))


def by_domain(rule: Rule) -> Rule:
    """``rule`` for one value, or for every value of a table by domain."""
    return Rule(
        f"{rule.wanted}, or a table domain: number",
        lambda v: all(map(rule.holds, v.values())) if isinstance(v, Mapping) else rule.holds(v),
    )


def optimizer(name: str) -> dict[str, Rule]:
    """Rules for the section ``name`` of an :class:`agents.nn.optimizer.Optimizer`."""
    rules = {"lr": POSITIVE, "eps": POSITIVE, "clip": POSITIVE, "wd": FRACTION}
    return {f"{name}.{key}": rule for key, rule in rules.items()}


def mlp(name: str) -> dict[str, Rule]:
    """Rules for the section ``name`` of an MLP."""
    return {f"{name}.layers": COUNT, f"{name}.units": COUNT}
