"""What a replay is made from."""

import re
from typing import Annotated, Literal

from utils.rules import Count, Flag, OneOf, Rule, Several
from utils.settings import Section
from utils.shared_keys import StackKey

CopyDevice = Annotated[
    str,
    Rule(
        "cpu, cuda or cuda:<index>",
        lambda v: isinstance(v, str) and re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", v) is not None,
    ),
]


class DrawSettings(Section):
    """What batches are drawn from, and how."""

    capacity: Count
    prefetch: Flag | None
    device: CopyDevice | None


class ReplaySettings(DrawSettings):
    """Of a run's own replay."""

    store_physics: Flag
    verify: OneOf[Literal[True, False, "drop"]]


class DataSettings(DrawSettings):
    """Of data that nobody adds to. What is damaged is converted anew, not dropped."""

    verify: Flag


class ReplayKeys(Section):
    """At the root of the settings of every run that draws batches."""

    replay: DrawSettings
    batch_size: Count

    @property
    def drawn(self) -> dict[str, int]:
        """What a batch is made of, as :func:`replay.layout.plan` takes it: ``batch_length`` or ``stack``."""
        raise NotImplementedError


class WindowKeys(ReplayKeys):
    """Batches of sequences."""

    batch_length: Several

    @property
    def drawn(self) -> dict[str, int]:
        return {"batch_length": self.batch_length}


class TransitionKeys(ReplayKeys, StackKey):
    """Batches of transitions between stacks of frames."""

    @property
    def drawn(self) -> dict[str, int]:
        return {"stack": self.framestack}
