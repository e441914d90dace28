"""Errors that are the user's to mend: shown as one short message, without a traceback."""

import difflib
import errno
import functools
import sys
from collections.abc import Callable, Iterable
from typing import ParamSpec

from utils import streams
from utils.process import STOPPED, interruptible

P = ParamSpec("P")


class UserError(Exception):
    """A request that cannot be carried out; its message names the key, the value and the fix."""


def unknown_value(key: str, value: object, allowed: Iterable[object]) -> UserError:
    """The error for ``key=value`` when only ``allowed`` values exist; suggests the nearest one."""
    options = sorted(map(str, allowed), key=lambda option: (int(option) if option.isdecimal() else -1, option))
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f" Did you mean {key}={near[0]}?" if near else ""
    return UserError(f"{key}={value} is not known. Allowed: {', '.join(options)}.{hint}")


def exit_status(command: Callable[P, None]) -> Callable[P, int]:
    """Decorator for a tool's ``main``: 0 when it returns, 1 and the message on stderr for a :class:`UserError` or an
    output that cannot be written, 130 when a signal stops it.

    A reader that has seen enough (``| head``) is no error.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        streams.protect()
        try:
            with interruptible():
                command(*args, **kwargs)
            sys.stdout.flush()
        except UserError as error:
            streams.show(f"error: {error}", sys.stderr)
            return 1
        except KeyboardInterrupt:
            return STOPPED
        lost = streams.lost(sys.stdout)
        if lost is not None and lost.errno != errno.EPIPE:
            streams.show(f"error: stdout cannot be written: {lost.strerror}", sys.stderr)
            return 1
        return 0

    return wrapped
