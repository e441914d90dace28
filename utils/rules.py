"""What the value of a setting must be: rules, and the types that carry them into a schema (``utils/settings.py``)."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic_core import PydanticCustomError, core_schema

MOST = 10**15
"""The largest count: more frames or records than any machine can take, and far from where 64 bits end."""
MOST_UNITS = 2**16
"""The largest width of a layer, where a mistyped one would only be noticed by running out of memory."""


@dataclass(frozen=True)
class Rule:
    """What a value must be; ``Annotated[int, rule]`` is a type whose values keep it."""

    wanted: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Nothing is converted: a value is as it was written, or refused."""

        def checked(value: Any) -> Any:
            if not self.holds(value):
                raise PydanticCustomError("rule", "{wanted}", {"wanted": self.wanted})
            return value

        return core_schema.no_info_plain_validator_function(checked)


class Choice:
    """``Annotated[Literal[...], Choice()]``: one of the options, of the same type (1 is not true, 16.0 is not 16)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return choice(*get_args(source)).__get_pydantic_core_schema__(source, handler)


def shown(value: Any) -> str:
    """``value`` as one would write it on the command line, in one line of at most 80 characters."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(str(value).split()))
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
    listed = ", ".join(str(option) for option in options)
    return Rule(f"one of {listed}", lambda v: any(v == option and type(v) is type(option) for option in options))


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


Count = Annotated[int, COUNT]
Whole = Annotated[int, WHOLE]
Several = Annotated[int, SEVERAL]
Size = Annotated[int, SIZE]
Layers = Annotated[int, LAYERS]
Seed = Annotated[int, whole(0, 2**32 - 1)]
Positive = Annotated[float, POSITIVE]
NotNegative = Annotated[float, NOT_NEGATIVE]
Number = Annotated[float, NUMBER]
Fraction = Annotated[float, FRACTION]
Flag = Annotated[bool, FLAG]
Text = Annotated[str, TEXT]
FolderName = Annotated[str, Rule("a text without /", lambda v: is_text(v) and "/" not in v and v not in (".", ".."))]
Kernels = Annotated[list[int], KERNELS]
Marks = Annotated[list[int], MARKS]

T = TypeVar("T")
OneOf = Annotated[T, Choice()]
"""``OneOf[Literal["full", "lite"]]``."""
