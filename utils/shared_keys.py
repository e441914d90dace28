"""Keys that rooms which may not know each other read alike: each is defined here, once."""

from typing import Annotated

from utils.rules import FolderName, Whole, whole
from utils.settings import Section


class DomainKey(Section):
    """The body that tasks share."""

    domain: FolderName


class SeedPhaseKey(Section):
    """How training begins."""

    num_seed_frames: Whole
    """Frames before the first update."""


class StackKey(Section):
    """How many frames an agent sees at once."""

    framestack: Annotated[int, whole(1, 100)]
