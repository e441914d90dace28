"""Errors that are the user's to mend: shown as one short message, without a traceback."""

import difflib
import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import ParamSpec

P = ParamSpec("P")


class UserError(Exception):
    """A request that cannot be carried out; its message names the key, the value and the fix."""


def unknown_value(key: str, value: object, allowed: Iterable[object]) -> UserError:
    """The error for ``key=value`` when only ``allowed`` values exist; suggests the nearest one."""
    options = sorted(str(option) for option in allowed)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f" Did you mean {key}={near[0]}?" if near else ""
    return UserError(f"{key}={value} is not known. Allowed: {', '.join(options)}.{hint}")


def exit_status(command: Callable[P, None]) -> Callable[P, int]:
    """Decorator for a tool's ``main``: 0 when it returns, 1 and the message on stderr for a :class:`UserError`.

    A reader that has seen enough (``| head``) ends it quietly.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 0

    return wrapped
