"""Options of a tool that may be written as the scripts' are: ``key=value``."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from utils.errors import UserError, unknown_value


def as_options(words: Sequence[str], made: argparse.ArgumentParser) -> list[str]:
    """``key=value`` as ``--key=value``, ``deterministic=true`` as ``--deterministic``, for the options there are."""
    flags = {action.dest: action.nargs == 0 for action in made._actions}
    found: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in flags:
            found.append(word)
        elif not flags[key]:
            found.append(f"--{word}")
        elif value.lower() == "true":
            found.append(f"--{key}")
        elif value.lower() != "false":
            raise UserError(f"{word} is not allowed: it must be true or false.")
    return found


def parse_words(words: Sequence[str], made: argparse.ArgumentParser) -> argparse.Namespace:
    """What ``made`` makes of ``words``. Raises :class:`UserError` for an option there is not, with the nearest, and for
    a value that is none.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    made.error = refuse  # type: ignore[method-assign]
    asked, unknown = made.parse_known_args(as_options(words, made))
    if unknown:
        raise unknown_value("option", unknown[0].partition("=")[0], (f"--{one.dest}" for one in made._actions))
    return asked
