"""What a run says of itself while it is busy: behind the live line, and to somebody who asks it to stop."""

from training.work import Kind, Work
from utils.durations import about

NAMED: dict[Kind, str] = {
    "update": "update",
    "evaluation": "evaluation",
    "snapshot": "snapshot",
    "checkpoint": "checkpoint",
    "trial": "timing an update",
}

NOTABLE = 1.0
"""Seconds of a piece of work after which it is named."""

PARTS: dict[Kind, str] = {"evaluation": ", episode"}
"""What the parts of one piece are called; other kinds are counted in pieces."""


def doing(work: Work) -> str:
    """``update 3 of 100, 12 of 26 s``; empty where nothing takes long."""
    piece, busy = work.now, work.busy
    if piece is None or piece.kind not in NAMED or (busy < NOTABLE and piece.of == 1):
        return ""
    which = f"{PARTS.get(piece.kind, '')} {piece.number} of {piece.of}" if piece.of > 1 else ""
    seconds = work.paces[piece.kind].seconds
    if busy < NOTABLE:
        return f"{NAMED[piece.kind]}{which}"
    return f"{NAMED[piece.kind]}{which}, {about(busy)}" + (f" of {about(seconds)}" if seconds else "")


def awaited(work: Work, step_in_flight: bool) -> str:
    """What has to be finished before a run can stop, with the seconds that it takes if that is known.

    With ``step_in_flight`` all updates of the step have to be.
    """
    piece = work.now
    if piece is None or piece.kind in ("random step", "step"):
        return "this step"
    if piece.kind == "evaluation":
        return "this step of an evaluation, which a resumed run makes first"
    seconds = work.paces[piece.kind].seconds
    left = None if seconds is None else max(seconds - work.busy, 0.0)
    name = "the one update that is being timed" if piece.kind == "trial" else f"this {NAMED[piece.kind]}"
    if piece.kind == "update" and step_in_flight and piece.of > piece.number:
        name = f"the {piece.of - piece.number + 1} updates of this step"
        left = None if left is None or seconds is None else left + (piece.of - piece.number) * seconds
    return f"{name} (about {about(left)})" if left else name
