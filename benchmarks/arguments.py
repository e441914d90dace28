"""Command lines of ``key=value``, as those of the project's scripts."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from utils.errors import UserError
from utils.folders import check_writable
from utils.report import check_output
from utils.rules import COUNT, TEXT, Rule, optional, shown

RULES: dict[str, Rule] = {"threads": COUNT, "json": optional(TEXT)}
"""Of the keys every benchmark has: torch's threads, and a file to write the table to."""


def split(
    words: Sequence[str], defaults: Mapping[str, Any], rules: Mapping[str, Rule]
) -> tuple[dict[str, Any], list[str]]:
    """The benchmark's own keys with their values (``defaults`` where not given), and the words with other keys.

    ``rules`` are those of its own keys besides ``threads`` and ``json``. A key whose default is a list takes one value,
    or several with commas between; its rule is that of each. Raises :class:`UserError` for a word that is no
    ``key=value``, a value that breaks its rule, a file that cannot be written.
    """
    values = {"threads": torch.get_num_threads(), "json": None, **defaults}
    others = []
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or word.startswith("-"):
            raise UserError(f"{shown(word)}: write key=value; keys of this benchmark: {', '.join(values)}.")
        if key in values:
            several = isinstance(values[key], list)
            values[key] = [_parsed(key, each) for each in value.split(",")] if several else _parsed(key, value)
        else:
            others.append(word)
    _check_each(values, {**RULES, **rules})
    if values["json"] is not None:
        _check_file(values["json"])
    return values, others


def own(words: Sequence[str], defaults: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """As :func:`split`, for a benchmark that takes no other keys. Raises :class:`UserError` for them, too."""
    values, others = split(words, defaults, rules)
    for word in others:
        key = word.partition("=")[0]
        near = difflib.get_close_matches(key, values, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{shown(word)}: there is no key {key}. This benchmark has {', '.join(values)}.{hint}")
    return values


def key_of(word: str) -> str:
    """The key that an override of the scripts' configuration is for."""
    return word.lstrip("+~").partition("=")[0]


def check_folder(values: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` unless ``folder=`` is null or a folder that can be written to."""
    folder = values["folder"]
    if folder is None:
        return
    if not Path(folder).is_dir():
        raise UserError(f"folder={folder} is no folder. Name one that is there.")
    check_writable("folder", folder)


def file_of(values: Mapping[str, Any]) -> Path | None:
    """Where ``json=`` wants the table."""
    return None if values["json"] is None else Path(values["json"])


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch computes with ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parsed(key: str, value: str) -> Any:
    if key == "json":
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value  # its rule says what is wanted


def _check_each(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for key, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            if not rules[key].holds(each):
                raise UserError(f"{key}={shown(each)} is not allowed: it must be {rules[key].wanted}.")


def _check_file(path: str) -> None:
    if Path(path).is_dir():
        raise UserError(f"json={path} is a folder. Name a file, such as json={path}/benchmark.json.")
    check_output("json", Path(path))
