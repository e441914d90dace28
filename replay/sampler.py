"""Which episodes there are, and which windows of them make the next batch."""

import numpy as np


class EpisodeIndex:
    """The finished episodes that can be sampled: stream, first record, length in records.

    Within a stream, episodes come and go in order, so each stream has one array with a moving begin and end. Adding,
    evicting and looking up take constant (amortised) time, however many episodes there are. The order of the whole
    (stream by stream, oldest first) depends only on which episodes are there, not on how they came to be.
    """

    def __init__(self, num_streams: int) -> None:
        self._rows = [np.zeros((16, 2), np.int64) for _ in range(num_streams)]  # (start, length)
        self._begin = [0] * num_streams
        self._counts = np.zeros(num_streams, np.int64)
        self.records = 0
        """Records in all indexed episodes."""

    def __len__(self) -> int:
        return int(self._counts.sum())

    def add(self, stream: int, start: int, length: int) -> None:
        """Append a finished episode; it must start after the last one of its stream."""
        rows, begin = self._rows[stream], self._begin[stream]
        end = begin + int(self._counts[stream])
        if end == len(rows):
            kept = rows[begin:end]
            rows = np.zeros((max(16, 2 * len(kept)), 2), np.int64)
            rows[: len(kept)] = kept
            self._rows[stream], self._begin[stream], end = rows, 0, len(kept)
        rows[end] = start, length
        self._counts[stream] += 1
        self.records += length

    def evict(self, stream: int, first_record: int) -> None:
        """Forget the episodes of ``stream`` that start before ``first_record``."""
        rows = self._rows[stream]
        while self._counts[stream] and rows[self._begin[stream], 0] < first_record:
            self.records -= int(rows[self._begin[stream], 1])
            self._begin[stream] += 1
            self._counts[stream] -= 1

    def lookup(self, ordinals: np.ndarray) -> np.ndarray:
        """(N,) positions in ``0 .. len(self) - 1`` -> (N, 3) int64 rows (stream, start, length)."""
        ends = np.cumsum(self._counts)
        streams = np.searchsorted(ends, ordinals, side="right")
        within = ordinals - (ends - self._counts)[streams]
        found = np.empty((len(ordinals), 3), np.int64)
        for row, (stream, position) in enumerate(zip(streams.tolist(), within.tolist(), strict=True)):
            found[row, 0] = stream
            found[row, 1:] = self._rows[stream][self._begin[stream] + position]
        return found

    def table(self) -> np.ndarray:
        """All episodes, (E, 3) int64 rows (stream, start, length)."""
        parts = [
            np.insert(rows[begin : begin + count], 0, stream, axis=1)
            for stream, (rows, begin, count) in enumerate(zip(self._rows, self._begin, self._counts, strict=True))
        ]
        return np.concatenate(parts)

    def load(self, table: np.ndarray) -> None:
        """Replace all episodes by the rows of ``table`` (as :meth:`table` gave them)."""
        self._begin = [0] * len(self._rows)
        self._counts[:] = 0
        self.records = 0
        for stream, start, length in table.tolist():
            self.add(stream, start, length)


class WindowSampler:
    """Draws windows: an episode uniformly, then a start uniformly among all where the window fits (both ends too)."""

    def __init__(self, index: EpisodeIndex, batch_length: int, seed: int) -> None:
        self.index = index
        self.batch_length = batch_length
        self._random = np.random.Generator(np.random.PCG64(seed))

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` windows: (streams, first records), both (count,) int64. All indexed episodes must be long enough.

        Raises ``RuntimeError`` when there is no episode.
        """
        if not len(self.index):
            raise RuntimeError("no finished episode can be sampled yet; ask `ready` first")
        episodes = self.index.lookup(self._random.integers(len(self.index), size=count))
        offsets = self._random.integers(episodes[:, 2] - self.batch_length + 1)
        return episodes[:, 0], episodes[:, 1] + offsets

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
