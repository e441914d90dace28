"""From windows in mapped files to tensors on the learner's device."""

from collections.abc import Sequence

import numpy as np
import torch

from replay.records import fields_of
from replay.storage import Piece

NOT_IN_BATCHES = ("physics",)
"""Keys that are stored for other uses (coverage, relabelling, export) and never sent to the learner."""


class Gather:
    """Copies windows into fresh (B, T, ...) tensors: one copy per window and key, straight from the mapped file.

    The tensors of a batch are the caller's; no later batch overwrites them. For CUDA they pass through pinned memory
    and an asynchronous copy. Pinned blocks come from torch's caching allocator, which hands a block out again only
    when the copy from it has finished, so nothing has to wait here.
    """

    def __init__(self, dtype: np.dtype, device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for key, (shape, scalar) in fields_of(dtype).items():
            if key not in NOT_IN_BATCHES:
                self._fields[key] = shape, torch.from_numpy(np.empty(0, scalar)).dtype

    def __call__(self, windows: Sequence[Sequence[Piece]], length: int) -> dict[str, torch.Tensor]:
        """``windows`` of ``length`` records each -> tensors (B, T, ...); ``is_first`` marks index 0 only."""
        pin = self.device.type == "cuda"
        batch = {}
        for key, (shape, dtype) in self._fields.items():
            tensor = torch.empty((len(windows), length, *shape), dtype=dtype, pin_memory=pin)
            target = tensor.numpy()
            if key == "is_first":
                target[:] = False
                target[:, 0] = True
            else:
                for row, pieces in enumerate(windows):
                    done = 0
                    for fields, begin, end in pieces:
                        target[row, done : done + end - begin] = fields[key][begin:end]
                        done += end - begin
            batch[key] = tensor.to(self.device, non_blocking=True)
        return batch


def read(pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
    """Copy the records of one window, all keys: arrays (T, ...)."""
    return {key: np.concatenate([fields[key][begin:end] for fields, begin, end in pieces]) for key in pieces[0].fields}
