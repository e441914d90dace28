"""Keys that rooms which may not know each other read alike: each is defined here, once."""

from typing import Annotated

from utils.rules import Text, Whole, whole
from utils.settings import Section


class DomainKey(Section):
    """The body that tasks share."""

    domain: Text


class SeedPhaseKey(Section):
    """How training begins."""

    num_seed_frames: Whole
    """Frames before the first update."""


class StackKey(Section):
    """How many frames an agent sees at once."""

    framestack: Annotated[int, whole(1, 100)]
