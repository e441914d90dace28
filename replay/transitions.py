"""Transitions between stacks of frames, for agents that learn from single steps (DrQ).

Every frame is stored once, in its record, and stacks are put together when a batch is drawn. With 84 px images and 3
stacked frames a record takes 21.2 kB, where a buffer of (stack, next stack) pairs takes 9 * 84 * 84 * 2 = 127 kB a
transition: 6.0 times less. All that is on disk, per transition that can be drawn (evicted
segments, resets and the episode being written counted in; cartpole with ``action_repeat=8``), is 5.1 times less at the
worst moment. None of it is the process's own memory: the files are mapped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from replay.batch import FIRST, Gather, at_rows
from replay.records import fields_of
from replay.sampler import EpisodeIndex, Sampler
from replay.storage import Piece, Stream

STACKED = "observation"
LEFT_OUT = FIRST  # always false of the record that a transition leads to


class TransitionSampler(Sampler):
    """Draws transitions t -> t + 1 uniformly, with replacement, over all of all indexed episodes (n records: n - 1).

    The run of a transition holds the records t - stack + 1 .. t + 1, without those that would lie before the episode.
    """

    def __init__(self, index: EpisodeIndex, stack: int, seed: int) -> None:
        super().__init__(index, 2, seed)
        self.stack = stack

    def _draw(self, count: int) -> np.ndarray:
        runs = self.index.lookup_transitions(self._random.integers(self.index.transitions, size=count))
        step = runs[:, 2]
        runs[:, 1] += np.maximum(step - (self.stack - 1), 0)
        runs[:, 2] = np.minimum(step + 1, self.stack) + 1
        return runs


class TransitionGather(Gather):
    """Frames t - stack + 1 .. t + 1 of every transition, (B, stack + 1, ...), and of record t + 1 the rest, (B, ...).

    Frames are in order, oldest first; those before the episode repeat its first one. So the stack in which the agent
    acted is ``observation[:, :-1]`` and the next one ``observation[:, 1:]``. There is no ``is_first``.

    A run at a time is as fast as it gets: a batch of 128 at 84 px takes 1.9 ms, 1.4 ms of them for moving the bytes.
    Grouping rows by segment and indexing with arrays takes 2.4 ms, as NumPy then makes a copy of its own.
    """

    def __init__(self, dtype: np.dtype, streams: Sequence[Stream], stack: int, device: str | torch.device) -> None:
        """Raises ``ValueError`` unless records have an ``observation``."""
        if STACKED not in fields_of(dtype):
            raise ValueError(f"transitions need the record key {STACKED!r}")
        self.stack, self.run = stack, stack + 1
        super().__init__(dtype, streams, device)
        del self._fields[LEFT_OUT]

    def shape_of(self, key: str, record: tuple[int, ...]) -> tuple[int, ...]:
        return (self.stack + 1, *record) if key == STACKED else record

    def copy(self, key: str, target: np.ndarray, runs: Sequence[Sequence[Piece]]) -> None:
        if key != STACKED:
            for row, pieces in enumerate(runs):
                fields, _, end = pieces[-1]
                target[row] = fields[key][end - 1]
            return
        for frames, pieces in zip(target, runs, strict=True):
            missing = done = self.stack + 1 - sum(end - begin for _, begin, end in pieces)
            for fields, begin, end in pieces:
                frames[done : done + end - begin] = fields[key][begin:end]
                done += end - begin
            if missing:
                frames[:missing] = frames[missing]

    def numbers(self, runs: np.ndarray) -> np.ndarray:
        _, first, records = runs.T[..., None]
        # a run that is shorter than others begins with its episode, whose first frame repeats
        return np.maximum(first + records - 1 - np.arange(self.stack, -1, -1), first)

    def pick(self, records: Mapping[str, torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
        last = rows[:, -1].contiguous()
        return {key: at_rows(records[key], rows if key == STACKED else last) for key in self._fields}
