"""Sections of settings: typed, frozen, read once from what Hydra composed.

A section is a pydantic model whose fields carry rules (``utils/rules.py``)::

    class ReplaySettings(Section):
        capacity: Count
        store_physics: Flag

Values are neither converted nor guessed; a key that is unknown or missing is refused. Defaults are in the YAML files: a
field has one only where a file may leave the key out. A script's settings are put together from such sections, and each
part of a run is given them as the type that has its own keys only.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from utils.errors import UserError
from utils.rules import shown


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", protected_namespaces=())

    def plain(self) -> dict[str, Any]:
        """Nested dicts with the keys of the YAML files: what :func:`parse` reads."""
        return self.model_dump(by_alias=True)


S = TypeVar("S", bound=Section)

_KEY = re.compile(r"`([A-Za-z_][\w.]*)`")


class SettingError(UserError):
    """A setting, or several together, that cannot be; the text has their internal keys in backquotes.

    A script that has other names for some of them shows them by these (:meth:`worded`).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(self.worded(str))

    def worded(self, name: Callable[[str], str]) -> str:
        """The message with every key called ``name(key)``."""
        return in_words(self.text, name)


def in_words(text: str, name: Callable[[str], str]) -> str:
    """``text`` with every key in backquotes called ``name(key)``."""
    return _KEY.sub(lambda found: name(found[1]), text)


class MissingKey(SettingError):
    """A key, or a whole section, that a run needs is not there."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"`{key}` is missing, and a run needs it. Leave ~`{key}` out, or set `{key}`=<value>.")


class UnknownKey(SettingError):
    """A key that nothing reads."""

    def __init__(self, key: str, value: object, known: list[str]) -> None:
        self.key, self.known = key, known
        super().__init__(f"`{key}`={shown(value)}: there is no key `{key}`, nothing reads it.")


def parse(schema: type[S], values: Mapping[str, Any]) -> S:
    """``values`` as ``schema``. Raises :class:`SettingError` for the first value that may not be what it is, else for a
    key that is missing, else for one that is unknown.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _complaint(schema, error) from None


def pick(schema: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that ``schema`` has a key for: of a larger configuration, the part that one reads."""
    return {key: values[key] for key in fields_of(schema) if key in values}


def fields_of(schema: type[Section]) -> dict[str, FieldInfo]:
    """The fields of a section by the names they have in YAML files."""
    return {field.alias or name: field for name, field in schema.model_fields.items()}


def keys_of(schema: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys and sections below ``schema``."""
    for key, field in fields_of(schema).items():
        yield f"{prefix}{key}"
        if (section := _section(field)) is not None:
            yield from keys_of(section, f"{prefix}{key}.")


def _complaint(schema: type[Section], error: ValidationError) -> SettingError:
    found = error.errors(include_url=False)
    order = {"missing": 1, "extra_forbidden": 2}
    first = min(found, key=lambda one: order.get(one["type"], 0))  # the first of the lowest
    path = [str(part) for part in first["loc"]]
    key, value = ".".join(path), first["input"]
    if first["type"] == "missing":
        return MissingKey(key)
    if first["type"] == "extra_forbidden":
        return UnknownKey(key, value, list(keys_of(schema)))
    node, *inner = path
    field = fields_of(schema)[node]
    while inner and (section := _section(field)) is not None:
        node, *inner = inner
        field = fields_of(section)[node]
    if inner:  # inside of a value that is no section, such as a list
        key = key.removesuffix("." + ".".join(inner))
    return SettingError(f"`{key}`={shown(value)} is not allowed: it must be {_wanted(field, first)}.")


PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
"""What types without a rule of ours ask for."""


def _wanted(field: FieldInfo, error: Mapping[str, Any]) -> str:
    """What the value of ``field`` must be."""
    if (section := _section(field)) is not None:
        wanted = f"a section with the keys {', '.join(fields_of(section))}"
    elif "wanted" in error.get("ctx", {}):
        wanted = error["ctx"]["wanted"]
    else:
        wanted = PLAIN.get(field.annotation, str(field.annotation).removeprefix("typing."))  # type: ignore[arg-type]
    return f"{wanted}, or null" if _optional(field) else wanted


def _section(field: FieldInfo) -> type[Section] | None:
    """The section that a field is, if it is one."""
    kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _optional(field: FieldInfo) -> bool:
    return type(None) in getattr(field.annotation, "__args__", ())
