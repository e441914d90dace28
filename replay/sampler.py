"""Which episodes there are, and which windows of them make the next batch."""

from abc import ABC, abstractmethod
from copy import copy

import numpy as np


class EpisodeIndex:
    """The finished episodes that can be sampled: stream, first record, length in records.

    Within a stream, episodes come and go in order, so each stream has one array with a moving begin and end. Adding,
    evicting and looking up take constant (amortised) time, however many episodes there are; looking up transitions is
    a bisection. The order of the whole (stream by stream, oldest first) depends only on which episodes are there, not
    on how they came to be.
    """

    def __init__(self, num_streams: int) -> None:
        # (start, length, transitions of the stream before this episode: only differences of these mean anything);
        # a row of numbers each, because searchsorted would copy a column
        self._rows = [np.zeros((3, 16), np.int64) for _ in range(num_streams)]
        self._begin = [0] * num_streams
        self._counts = np.zeros(num_streams, np.int64)
        self._transitions = np.zeros(num_streams, np.int64)
        self.records = 0
        """Records in all indexed episodes."""
        self.version = 0
        """Another number whenever other episodes can be sampled."""

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def transitions(self) -> int:
        """Transitions in all indexed episodes: one fewer than records in each."""
        return self.records - len(self)

    def add(self, stream: int, start: int, length: int) -> None:
        """Append a finished episode; it must start after the last one of its stream."""
        rows, begin = self._rows[stream], self._begin[stream]
        end = begin + int(self._counts[stream])
        if end == rows.shape[1]:
            kept = rows[:, begin:end]
            end -= begin
            rows = np.zeros((3, max(16, 2 * end)), np.int64)
            rows[:, :end] = kept
            self._rows[stream], self._begin[stream] = rows, 0
        before = rows[1, end - 1] - 1 + rows[2, end - 1] if self._counts[stream] else 0
        rows[:, end] = start, length, before
        self._counts[stream] += 1
        self._transitions[stream] += length - 1
        self.records += length
        self.version += 1

    def evict(self, stream: int, first_record: int) -> None:
        """Forget the episodes of ``stream`` that start before ``first_record``."""
        rows = self._rows[stream]
        while self._counts[stream] and rows[0, self._begin[stream]] < first_record:
            length = int(rows[1, self._begin[stream]])
            self.records -= length
            self._transitions[stream] -= length - 1
            self._begin[stream] += 1
            self._counts[stream] -= 1
            self.version += 1

    def lookup(self, ordinals: np.ndarray) -> np.ndarray:
        """(N,) positions in ``0 .. len(self) - 1`` -> (N, 3) int64 rows (stream, start, length)."""
        ends = np.cumsum(self._counts)
        streams = np.searchsorted(ends, ordinals, side="right")
        within = ordinals - (ends - self._counts)[streams]
        found = np.empty((len(ordinals), 3), np.int64)
        for row, (stream, position) in enumerate(zip(streams.tolist(), within.tolist(), strict=True)):
            found[row, 0] = stream
            found[row, 1:] = self._rows[stream][:2, self._begin[stream] + position]
        return found

    def lookup_transitions(self, ordinals: np.ndarray) -> np.ndarray:
        """(N,) positions in ``0 .. transitions - 1`` -> (N, 3) int64 rows (stream, first record of the episode, step).

        The transition leads from record ``first + step`` to the next one.
        """
        ends = np.cumsum(self._transitions)
        streams = np.searchsorted(ends, ordinals, side="right")
        within = ordinals - (ends - self._transitions)[streams]
        found = np.empty((len(ordinals), 3), np.int64)
        for stream in np.unique(streams).tolist():
            begin = self._begin[stream]
            starts, _, before = self._rows[stream][:, begin : begin + int(self._counts[stream])]
            rows = np.flatnonzero(streams == stream)
            sought = within[rows] + before[0]
            episodes = np.searchsorted(before, sought, side="right") - 1
            found[rows] = np.stack([np.full_like(rows, stream), starts[episodes], sought - before[episodes]], axis=1)
        return found

    def table(self) -> np.ndarray:
        """All episodes, (E, 3) int64 rows (stream, start, length)."""
        parts = [
            np.insert(rows[:2, begin : begin + count].T, 0, stream, axis=1)
            for stream, (rows, begin, count) in enumerate(zip(self._rows, self._begin, self._counts, strict=True))
        ]
        return np.concatenate(parts)

    def load(self, table: np.ndarray) -> None:
        """Replace all episodes by the rows of ``table`` (as :meth:`table` gave them)."""
        self._begin = [0] * len(self._rows)
        self._counts[:] = 0
        self._transitions[:] = 0
        self.records = 0
        self.version += 1
        for stream, start, length in table.tolist():
            self.add(stream, start, length)


class Sampler(ABC):
    """Draws runs of records, each from one episode of ``index``, with a random state that can be saved."""

    def __init__(self, index: EpisodeIndex, shortest: int, seed: int) -> None:
        self.index = index
        self.shortest = shortest
        """Records that an episode needs to be drawn from; shorter ones must not be in the index."""
        self._random = np.random.Generator(np.random.PCG64(seed))

    def draw(self, count: int) -> np.ndarray:
        """``count`` runs: (count, 3) int64 rows (stream, first record, records).

        Raises ``RuntimeError`` when there is no episode.
        """
        if not len(self.index):
            raise RuntimeError("no finished episode can be sampled yet; ask `ready` first")
        return self._draw(count)

    def twin(self) -> "Sampler":
        """A sampler of the same index with a random state of its own, at present the same."""
        twin = copy(self)
        twin._random = np.random.Generator(np.random.PCG64(0))
        twin.state = self.state
        return twin

    @abstractmethod
    def _draw(self, count: int) -> np.ndarray: ...

    @property
    def state(self) -> dict[str, object]:
        """The random state, as plain values; setting it makes the next draws the ones that followed it."""
        state = self._random.bit_generator.state
        # 128-bit integers as text: not every reader of checkpoints takes them.
        words = {name: str(value) for name, value in state["state"].items()}
        return {"bit_generator": "PCG64", **words, "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}

    @state.setter
    def state(self, state: dict[str, object]) -> None:
        self._random.bit_generator.state = {
            "bit_generator": state["bit_generator"],
            "state": {"state": int(str(state["state"])), "inc": int(str(state["inc"]))},
            "has_uint32": state["has_uint32"],
            "uinteger": state["uinteger"],
        }


class WindowSampler(Sampler):
    """Draws windows: an episode uniformly, then a start uniformly among all where the window fits (both ends too)."""

    def __init__(self, index: EpisodeIndex, batch_length: int, seed: int) -> None:
        super().__init__(index, batch_length, seed)
        self.batch_length = batch_length

    def _draw(self, count: int) -> np.ndarray:
        runs = self.index.lookup(self._random.integers(len(self.index), size=count))
        runs[:, 1] += self._random.integers(runs[:, 2] - self.batch_length + 1)
        runs[:, 2] = self.batch_length
        return runs
