"""Errors that are the user's to mend: shown as one short message, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A request that cannot be carried out; its message names the key, the value and the fix."""


def unknown_value(key: str, value: object, allowed: Iterable[object]) -> UserError:
    """The error for ``key=value`` when only ``allowed`` values exist; suggests the nearest one."""
    options = sorted(str(option) for option in allowed)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f" Did you mean {key}={near[0]}?" if near else ""
    return UserError(f"{key}={value} is not known. Allowed: {', '.join(options)}.{hint}")
