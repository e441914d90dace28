"""What Hydra refuses, told in words: the key, the value, the nearest match, and the script that has it."""

import argparse
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entry.composing import REFUSALS, Places, hydra_for
from entry.launchers import check_installed
from entry.taken_over import SNAPSHOT
from entry.unknown_key import groups, hint, other_group
from entry.words import parsed
from utils.advice import in_shell, override
from utils.config import flatten, unresolved
from utils.errors import UserError, unknown_value
from utils.rules import shown


def told(script: str, asked: argparse.Namespace, error: Exception) -> UserError:
    """The error for a command line that Hydra has refused with ``error``."""
    try:
        for word in asked.overrides:
            _check_grammar(word)
        check_installed(error)
        with hydra_for(script, asked) as hydra:
            _Refused(script, asked, hydra, error).check()
    except UserError as found:
        return found
    except REFUSALS:  # what else is wrong keeps us from looking
        pass
    return UserError(_shortened(error))


def _check_grammar(word: str) -> None:
    try:
        [found] = parsed([word])
    except (HydraException, ValueError) as error:  # the latter from a number of thousands of digits
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{shown(word)}: not a valid override ({reason}). Write key=value, quoted for lists: 'a=[1,2]'."
        ) from None
    if not found.key_or_group:
        raise UserError(f"{shown(word)}: there is no key before the =. Write key=value.")


class _Refused:
    """A command line that follows the grammar, and of which Hydra makes no configuration all the same."""

    def __init__(self, script: str, asked: argparse.Namespace, hydra: Hydra, error: Exception) -> None:
        self.script, self.asked, self.hydra, self.error = script, asked, hydra, error
        self.places = Places(hydra, script, asked)
        self.overrides = parsed(asked.overrides, self.places.loader)
        self.chosen = [o for o in self.overrides if self.places.options(o.key_or_group)]

    def check(self) -> None:
        """Raise :class:`UserError` for the first override that is at fault, groups before keys."""
        for found in self.overrides:
            if not found.is_add() and (elsewhere := other_group(found.key_or_group, self.script)):
                raise UserError(f"{found.input_line}: {elsewhere}")
        for found in self.chosen:
            self._check_group(found)
        for found in self.overrides:
            if found not in self.chosen:
                self._check_key(found)

    def _check_group(self, found: Override) -> None:
        name, line, options = found.key_or_group, str(found.input_line), self.places.options(found.key_or_group)
        if found.is_delete():
            raise UserError(f"{line}: a run needs one. Set {name} to one of {', '.join(options)}.")
        value = found.value()
        for option in value.list if isinstance(value, ChoiceSweep) else [] if found.is_sweep_override() else [value]:
            # Hydra itself has groups of which one may choose several
            several = name.startswith("hydra") and isinstance(option, list)
            if not several and (not isinstance(option, str) or ("${" not in option and option not in options)):
                raise unknown_value(name, shown(option), options)
        twice = found.is_add() and name in groups(self.script)
        if twice if found.package is None else not found.is_add():
            raise UserError(f"{line}: {name} is chosen already. Write {name}={line.partition('=')[2]}.")
        self._check_sweep(found, None)

    def _check_key(self, found: Override) -> None:
        """A key that is not there, or several values for one that is."""
        key, line = found.key_or_group, found.input_line
        if found.is_add():
            return
        try:
            before = _find(self.known, key)
        except KeyError:
            names = [n for n in flatten(self.known) if key.startswith("hydra") or not n.startswith("hydra")]
            near = hint(key, [*names, *self.places.groups])
            raise UserError(f"{line}: there is no key {key}.{near} --cfg job prints them all.") from None
        self._check_sweep(found, before)
        if self.asked.multirun:
            try:
                _find(self._keys_of([]), key)
            except KeyError:
                words = f"{line}: not every job of this sweep has the key {key}. Write ++{line} for those that do."
                raise UserError(words) from None

    def _check_sweep(self, found: Override, before: Any) -> None:
        """``before``: the value without the override."""
        line = str(found.input_line)
        key, _, text = line.partition("=")
        if not found.is_sweep_override() or line not in str(self.error):
            return
        other = ""
        if isinstance(before, list):
            other = f" A list is written {in_shell(f'{key}=[{text}]')}."
        elif isinstance(before, str):
            other = f" As one text it is {override(key, text)}."
        raise UserError(f"{line}: several values are a sweep. Put --multirun in front to run each of them.{other}")

    @cached_property
    def known(self) -> dict[str, Any]:
        """The configuration that the chosen groups make, as if no key was changed."""
        return self._keys_of(self.chosen)

    def _keys_of(self, chosen: Sequence[Override]) -> dict[str, Any]:
        words = [
            f"{o.get_key_element()}={next(o.sweep_string_iterator())}" if o.is_discrete_sweep() else str(o.input_line)
            for o in chosen
        ]
        words += self.places.searched
        config = self.hydra.compose_config(self.places.name, words, RunMode.RUN)
        named = [str(o.input_line) for o in self.overrides if o.key_or_group == SNAPSHOT and not o.is_sweep_override()]
        if named and SNAPSHOT in config:  # its agent has keys of its own
            config = self.hydra.compose_config(self.places.name, [*words, *named], RunMode.RUN)
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        return plain  # type: ignore[return-value]


def _find(config: dict[str, Any], key: str) -> Any:
    """The value of a key, or of an entry of a list. Raises KeyError when there is none."""
    node: Any = config
    for part in key.split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node[part]
        else:
            raise KeyError(key)
    return node


def _shortened(error: Exception) -> str:
    """Hydra's message with its cause, without the list of places that were searched."""
    if isinstance(error, RecursionError):
        return "the files that this command line chooses name each other in their defaults lists, in a circle."
    if isinstance(error.__cause__, UserError):  # of a resolver of ours
        return str(error.__cause__)
    if isinstance(error, OmegaConfBaseException):
        return unresolved(error)
    parts = [str(error), str(error.__cause__ or "") if isinstance(error, HydraException) else ""]
    text = "\n".join(part.strip() for part in parts if part.strip()) or type(error).__name__
    return text.partition("\nConfig search path:")[0].strip()
