"""What the value of a configuration key must be: rules, and the check that names the first value that breaks one."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError

MOST = 10**15
"""The largest count: more frames or records than any machine can take, and far from where 64 bits end."""
MOST_UNITS = 2**16
"""The largest width of a layer, where a mistyped one would only be noticed by running out of memory."""


@dataclass(frozen=True)
class Rule:
    """What a value must be."""

    wanted: str
    holds: Callable[[Any], bool]


def check_values(config: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise :class:`UserError` for the first value that breaks its rule; keys the configuration lacks are skipped."""
    for key, rule in rules.items():
        *sections, last = key.split(".")
        node: Any = config
        for depth, name in enumerate(sections):
            node = node.get(name, {})
            if not isinstance(node, Mapping):
                section = ".".join(sections[: depth + 1])
                raise UserError(_bad(section, node, f"a section with the keys {', '.join(_below(section, rules))}"))
        if last in node and not rule.holds(node[last]):
            raise UserError(_bad(key, node[last], rule.wanted))


def _bad(key: str, value: Any, wanted: str) -> str:
    return f"{key}={shown(value)} is not allowed: it must be {wanted}."


def _below(section: str, rules: Mapping[str, Rule]) -> list[str]:
    """The keys in ``section``, itself excluded."""
    prefix = f"{section}."
    return list(dict.fromkeys(key.removeprefix(prefix).partition(".")[0] for key in rules if key.startswith(prefix)))


def shown(value: Any) -> str:
    """``value`` as one would write it on the command line, in one line of at most 80 characters."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        text = " ".join(str(value).split())
    except ValueError:
        return "<thousands of digits>"  # Python refuses to write them out
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_int(value: Any) -> bool:
    """A whole number and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number, within what a float can hold, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_text(value: Any) -> bool:
    """A text that is not empty, no mark of a missing value, and can be part of a path."""
    return isinstance(value, str) and value.strip() not in ("", "???") and "\0" not in value


def choice(*options: Any) -> Rule:
    """One of ``options``, of the same type."""
    return Rule(
        "one of " + ", ".join(str(o) for o in options), lambda v: v in options and type(v) in map(type, options)
    )


def ints(value: Any, low: int) -> bool:
    """A list of whole numbers, from ``low`` to ``MOST``."""
    return isinstance(value, list) and all(is_int(v) and low <= v <= MOST for v in value)


def whole(low: int, high: int = MOST) -> Rule:
    """A whole number from ``low`` to ``high``."""
    most = "10^15" if high == MOST else str(high)
    return Rule(f"a whole number from {low} to {most}", lambda v: is_int(v) and low <= v <= high)


COUNT = whole(1)
WHOLE = whole(0)
SEVERAL = whole(2)
SIZE = whole(1, MOST_UNITS)
LAYERS = whole(1, 100)
POSITIVE = Rule("a number above 0", lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Rule("a number, 0 or more", lambda v: is_number(v) and v >= 0)
NUMBER = Rule("a number", is_number)
FRACTION = Rule("a number from 0 to 1", lambda v: is_number(v) and 0 <= v <= 1)
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("a text", is_text)
OPTIONAL_TEXT = Rule("a text or null", lambda v: v is None or is_text(v))
KERNELS = Rule("a list of 1 to 8 whole numbers above 0", lambda v: ints(v, 1) and 1 <= len(v) <= 8)
MARKS = Rule("a list of frame counts above 0, such as [100000,500000]", lambda v: ints(v, 1))


def optional(rule: Rule) -> Rule:
    """``rule``, or null."""
    return Rule(f"{rule.wanted}, or null", lambda v: v is None or rule.holds(v))


def by_domain(rule: Rule) -> Rule:
    """``rule`` for one value, or for every value of a table by domain."""
    return Rule(
        f"{rule.wanted}, or a table domain: number",
        lambda v: bool(v) and all(map(rule.holds, v.values())) if isinstance(v, Mapping) else rule.holds(v),
    )


def optimizer(name: str) -> dict[str, Rule]:
    """Rules for the section ``name`` of an :class:`agents.nn.optimizer.Optimizer`."""
    rules = {"lr": POSITIVE, "eps": POSITIVE, "clip": POSITIVE, "wd": FRACTION}
    return {f"{name}.{key}": rule for key, rule in rules.items()}


def mlp(name: str) -> dict[str, Rule]:
    """Rules for the section ``name`` of an MLP."""
    return {f"{name}.layers": LAYERS, f"{name}.units": SIZE}


COLLECTING = {
    "num_envs": COUNT,
    "collect.async": FLAG,
    "collect.workers": optional(FLAG),
    "collect.timeout": POSITIVE,
}
"""Rules of the keys that say how training environments are stepped."""
