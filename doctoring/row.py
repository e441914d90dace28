"""What a check answers."""

from enum import Enum
from typing import NamedTuple

from utils.errors import UserError


class Status(Enum):
    """``WARN``: a run will start, but something is missing or slow. ``FAIL``: a run would end with an error."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Row(NamedTuple):
    """One line of the table."""

    status: Status
    found: str
    fix: str = ""
    """What to do, for WARN and FAIL."""


def ok(found: str) -> Row:
    """Nothing to mend."""
    return Row(Status.OK, found)


def warn(found: str, fix: str) -> Row:
    """A run will start."""
    return Row(Status.WARN, found, fix)


def fail(found: str, fix: str) -> Row:
    """A run would end with an error."""
    return Row(Status.FAIL, found, fix)


def refused(error: UserError, fix: str = "change what the message names") -> Row:
    """The scripts' own message: its first sentence says what is wrong, the others what to do."""
    message = str(error).strip()
    ends = [at for at in (message.find(". "), message.find("\n")) if at > 0]
    cut = min(ends, default=len(message)) + 1
    return fail(message[:cut].strip(), message[cut:].strip() or fix)
