"""Episode replay on disk: memory-mapped, bounded, seeded, resumable.

``storage`` keeps records in segment files, ``sampler`` knows the finished episodes and draws windows of them,
``transitions`` draws single steps with stacks of frames instead, ``replay`` joins them into what a training loop uses.
"""

from replay.layout import Layout, check_disk, plan
from replay.records import RecordSpec
from replay.replay import Replay

__all__ = ["Layout", "RecordSpec", "Replay", "check_disk", "plan"]
