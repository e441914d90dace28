"""From records in mapped files to tensors on the learner's device."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from replay.records import fields_of
from replay.storage import Piece, Stream

NOT_IN_BATCHES = ("physics",)
"""Keys that are stored for other uses (coverage, relabelling, export) and never sent to the learner."""
FIRST = "is_first"
NOT_READ = (*NOT_IN_BATCHES, FIRST)
"""Keys that no batch takes from the records: where a batch has ``is_first``, it marks the beginning of a window."""

Host = dict[str, torch.Tensor]
"""Tensors in main memory (pinned for CUDA) from which a batch is made; their content is up to who gathers."""


def torch_dtype(scalar: np.dtype) -> torch.dtype:
    """The tensors' counterpart of an array's ``scalar`` type."""
    return torch.from_numpy(np.empty(0, scalar)).dtype


class Gathers(Protocol):
    """How runs of records, rows (stream, first record, records) of an array (B, 3), become a batch, in four steps.

    Only the third may take long, and it makes no CUDA calls, so that any thread can do it.
    """

    def host(self, count: int) -> Host:
        """Fresh tensors for a batch of ``count`` rows, each the caller's."""

    def locate(self, runs: np.ndarray) -> Any:
        """Where the records are; no record may be added meanwhile."""

    def fill(self, host: Host, located: Any) -> None:
        """Write what :meth:`locate` has found into ``host``."""

    def batch(self, host: Host) -> dict[str, torch.Tensor]:
        """The batch, on the learner's device. The caller gives ``host`` away."""


class Gather(ABC):
    """Copies runs of records into fresh tensors: one copy per piece and key, straight from the mapped file.

    The tensors of a batch are the caller's; no later batch overwrites them. For CUDA they pass through pinned memory
    and an asynchronous copy. Pinned blocks come from torch's caching allocator, which hands a block out again only
    when the copy from it has finished, so nothing has to wait here.
    """

    run: int
    """Records of the longest run."""

    def __init__(self, dtype: np.dtype, streams: Sequence[Stream], device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._streams = streams
        self._fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for key, (shape, scalar) in fields_of(dtype).items():
            if key not in NOT_IN_BATCHES:
                self._fields[key] = self.shape_of(key, shape), torch_dtype(scalar)

    def host(self, count: int) -> Host:
        pin = self.device.type == "cuda"
        return {
            key: torch.empty((count, *shape), dtype=dtype, pin_memory=pin)
            for key, (shape, dtype) in self._fields.items()
        }

    def locate(self, runs: np.ndarray) -> list[list[Piece]]:
        """The pieces of every run; they keep their segments alive."""
        return [self._streams[stream].window(first, records) for stream, first, records in runs.tolist()]

    def fill(self, host: Host, located: Sequence[Sequence[Piece]]) -> None:
        for key, tensor in host.items():
            self.copy(key, tensor.numpy(), located)

    def batch(self, host: Host) -> dict[str, torch.Tensor]:
        return {key: tensor.to(self.device, non_blocking=True) for key, tensor in host.items()}

    @abstractmethod
    def shape_of(self, key: str, record: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one row of ``key``, whose records have the shape ``record``."""

    @abstractmethod
    def copy(self, key: str, target: np.ndarray, runs: Sequence[Sequence[Piece]]) -> None:
        """Write ``key`` of every run into its row of ``target``."""

    @abstractmethod
    def numbers(self, runs: np.ndarray) -> np.ndarray:
        """(B, ``run``) numbers, within their streams, of the records that every row of a batch is made of."""

    @abstractmethod
    def pick(self, records: Mapping[str, torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The batch whose records, those of :meth:`numbers`, are at ``rows`` (B, ``run``); see :func:`at_rows`."""


class WindowGather(Gather):
    """Tensors (B, T, ...) of runs of T = ``length`` records; ``is_first`` marks index 0 only."""

    def __init__(self, dtype: np.dtype, streams: Sequence[Stream], length: int, device: str | torch.device) -> None:
        self.run = self.length = length
        super().__init__(dtype, streams, device)

    def shape_of(self, key: str, record: tuple[int, ...]) -> tuple[int, ...]:
        return self.length, *record

    def copy(self, key: str, target: np.ndarray, runs: Sequence[Sequence[Piece]]) -> None:
        if key == FIRST:
            target[:] = False
            target[:, 0] = True
            return
        for row, pieces in enumerate(runs):
            done = 0
            for fields, begin, end in pieces:
                target[row, done : done + end - begin] = fields[key][begin:end]
                done += end - begin

    def numbers(self, runs: np.ndarray) -> np.ndarray:
        return runs[:, 1:2] + np.arange(self.length)

    def pick(self, records: Mapping[str, torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
        batch = {}
        for key in self._fields:
            if key == FIRST:
                batch[key] = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
                batch[key][:, 0] = True
            else:
                batch[key] = at_rows(records[key], rows)
        return batch


def at_rows(records: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """``rows`` (B, ...) of a tensor (steps, streams, *shape), the first two dimensions flattened: (B, ..., *shape)."""
    flat = records.flatten(0, 1)
    return flat.index_select(0, rows.flatten()).view(*rows.shape, *flat.shape[1:])


def read(pieces: Sequence[Piece], keys: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Copy the records of one window, all keys or these: arrays (T, ...)."""
    wanted = pieces[0].fields if keys is None else keys
    return {key: np.concatenate([fields[key][begin:end] for fields, begin, end in pieces]) for key in wanted}
