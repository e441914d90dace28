"""Which runs of records are episodes: from ``is_first`` to ``is_last`` or ``is_terminal``, per environment."""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from replay.sampler import EpisodeIndex
from replay.storage import Stream

log = logging.getLogger(__name__)


class EpisodeTracker:
    """Follows the episode every environment is in and hands the finished ones to the index."""

    def __init__(self, index: EpisodeIndex, num_envs: int, shortest: int, needed_for: str) -> None:
        """Episodes of fewer than ``shortest`` records are left out, being too short for ``needed_for``."""
        self.index = index
        self.shortest = shortest
        self.needed_for = needed_for
        self.open: list[int | None] = [None] * num_envs
        """First record of the unfinished episode of each environment."""
        self.whole_from = [0] * num_envs
        """First record of that episode that can be used, where damage has taken those before it."""
        self.ended: list[tuple[int, int]] = [(0, 0)] * num_envs
        """First record and length of the episode that ended last."""
        self._logged: set[str] = set()

    def check(self, records: Mapping[str, np.ndarray], envs: Iterable[int]) -> None:
        """Raise ``ValueError`` for a record that belongs to no episode."""
        for env in envs:
            if self.open[env] is None and not records["is_first"][env]:
                raise ValueError(f"environment {env}: a record outside any episode; episodes start with is_first")

    def written(self, env: int, stream: Stream, records: Mapping[str, np.ndarray]) -> None:
        """Take note of the record that ``stream`` has just appended for ``env``.

        An unfinished episode that is cut off by a new ``is_first`` is forgotten: its last record is not its end.
        """
        if records["is_first"][env]:
            self.open[env], self.whole_from[env] = stream.cursor - 1, 0
        self.index.evict(env, stream.first_record)
        start = self.open[env]
        if start is None or not (records["is_last"][env] or records["is_terminal"][env]):
            return
        self.open[env] = None
        start = max(start, self.whole_from[env])
        length = stream.cursor - start
        self.ended[env] = start, length
        if length < self.shortest:
            self._drop("short", f"an episode of {length} record(s) is too short for {self.needed_for}")
        elif start < stream.first_record:
            self._drop("long", f"an episode of {length} records does not fit; raise replay.capacity")
        else:
            self.index.add(env, start, length)

    def _drop(self, kind: str, what: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            log.warning("replay: %s. Such episodes are not sampled (said once).", what)
