"""When something is due, for counters that may advance by more than one."""


def times_due(before: int, after: int, period: int) -> int:
    """How many multiples of ``period`` lie in ``(before, after]``."""
    return after // period - before // period


def crossed(before: int, after: int, marks: list[int]) -> list[int]:
    """The marks in ``(before, after]``, ascending."""
    return sorted(mark for mark in marks if before < mark <= after)
