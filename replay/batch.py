"""From records in mapped files to tensors on the learner's device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from replay.records import fields_of
from replay.storage import Piece

NOT_IN_BATCHES = ("physics",)
"""Keys that are stored for other uses (coverage, relabelling, export) and never sent to the learner."""


class Gather(ABC):
    """Copies runs of records into fresh tensors: one copy per piece and key, straight from the mapped file.

    The tensors of a batch are the caller's; no later batch overwrites them. For CUDA they pass through pinned memory
    and an asynchronous copy. Pinned blocks come from torch's caching allocator, which hands a block out again only
    when the copy from it has finished, so nothing has to wait here.
    """

    def __init__(self, dtype: np.dtype, device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for key, (shape, scalar) in fields_of(dtype).items():
            if key not in NOT_IN_BATCHES:
                self._fields[key] = self.shape_of(key, shape), torch.from_numpy(np.empty(0, scalar)).dtype

    def __call__(self, runs: Sequence[Sequence[Piece]]) -> dict[str, torch.Tensor]:
        """One row of every tensor per run, on the device."""
        pin = self.device.type == "cuda"
        batch = {}
        for key, (shape, dtype) in self._fields.items():
            tensor = torch.empty((len(runs), *shape), dtype=dtype, pin_memory=pin)
            self.fill(key, tensor.numpy(), runs)
            batch[key] = tensor.to(self.device, non_blocking=True)
        return batch

    @abstractmethod
    def shape_of(self, key: str, record: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one row of ``key``, whose records have the shape ``record``."""

    @abstractmethod
    def fill(self, key: str, target: np.ndarray, runs: Sequence[Sequence[Piece]]) -> None:
        """Write ``key`` of every run into its row of ``target``."""


class WindowGather(Gather):
    """Tensors (B, T, ...) of runs of T = ``length`` records; ``is_first`` marks index 0 only."""

    def __init__(self, dtype: np.dtype, length: int, device: str | torch.device) -> None:
        self.length = length
        super().__init__(dtype, device)

    def shape_of(self, key: str, record: tuple[int, ...]) -> tuple[int, ...]:
        return self.length, *record

    def fill(self, key: str, target: np.ndarray, runs: Sequence[Sequence[Piece]]) -> None:
        if key == "is_first":
            target[:] = False
            target[:, 0] = True
            return
        for row, pieces in enumerate(runs):
            done = 0
            for fields, begin, end in pieces:
                target[row, done : done + end - begin] = fields[key][begin:end]
                done += end - begin


def read(pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
    """Copy the records of one window, all keys: arrays (T, ...)."""
    return {key: np.concatenate([fields[key][begin:end] for fields, begin, end in pieces]) for key in pieces[0].fields}
