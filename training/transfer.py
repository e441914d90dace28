"""What goes between environments on the host and an agent on its device: one copy in and one out per step."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ALIGNED = 16
"""Bytes that every array begins at a multiple of, as tensors of any type may."""


class Place(NamedTuple):
    """Of an array in a run of bytes."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Transfer:
    """Carries arrays of the same shapes at every step to ``device`` and tensors back.

    On a CPU the tensors share the arrays' memory. On a GPU all arrays of a step are put into one pinned buffer, whose
    copy does not hold up the host; it is free again when the next step begins, because a result was waited for
    meanwhile, or because the copy is waited for.
    """

    def __init__(self, device: torch.device, *, packs: bool | None = None) -> None:
        self.device = device
        self.packs = device.type == "cuda" if packs is None else packs
        self._places: list[Place] = []
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None

    def to_device(self, *arrays: np.ndarray) -> tuple[Tensor, ...]:
        """Tensors of the same shapes and types."""
        given = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        if not self.packs:
            return tuple(x.to(self.device) for x in given)
        if [(p.shape, p.dtype) for p in self._places] != [(tuple(x.shape), x.dtype) for x in given]:
            self._plan(given)
        if self._copied is not None:
            self._copied.synchronize()
        for place, x in zip(self._places, given, strict=True):
            _view(self._buffer, place).copy_(x)
        sent = self._buffer.to(self.device, non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        if sent is self._buffer:  # the buffer is filled anew at the next step
            sent = sent.clone()
        return tuple(_view(sent, place) for place in self._places)

    def to_host(self, *tensors: Tensor) -> tuple[np.ndarray, ...]:
        """float32 arrays of tensors (n, ...) in float32: one copy, and the only wait of a step."""
        if not self.packs or len(tensors) == 1:
            return tuple(x.detach().cpu().numpy() for x in tensors)
        flat = [x.detach().flatten(1) for x in tensors]
        together = torch.cat(flat, 1).cpu().numpy()
        ends = np.cumsum([x.shape[1] for x in flat])[:-1]
        return tuple(part.reshape(tuple(x.shape)) for part, x in zip(np.split(together, ends, 1), tensors, strict=True))

    def _plan(self, given: Sequence[Tensor]) -> None:
        self._places, start = [], 0
        for x in given:
            self._places.append(Place(start, tuple(x.shape), x.dtype))
            start += -(-self._places[-1].bytes // ALIGNED) * ALIGNED
        pinned = self.device.type == "cuda"
        self._buffer = torch.empty(start, dtype=torch.uint8, pin_memory=pinned)
        self._copied = torch.cuda.Event() if pinned else None


def _view(buffer: Tensor, place: Place) -> Tensor:
    return buffer[place.start : place.start + place.bytes].view(place.dtype).view(place.shape)
