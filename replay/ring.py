"""A copy of the records that can be sampled, in tensors on a device: a batch is one gather there.

The files stay the truth. What is here follows from them and is made again when a run is resumed.
"""

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from replay.batch import NOT_READ, Gather, Host, torch_dtype
from replay.files import readable
from replay.layout import Layout
from replay.records import fields_of
from replay.storage import Stream

log = logging.getLogger(__name__)

CHUNK = 1024
"""Records copied from the files at once."""
SAY_AFTER = 2.0
"""Seconds after which filling the ring is said to take a while."""


def ring_steps(layout: Layout, total_records: int | None = None) -> int:
    """Records of each stream that a ring holds: all that can be sampled, or ``total_records`` if those are fewer."""
    segments = layout.live_segments
    if total_records is not None:
        segments = min(segments, -(-total_records // layout.segment_steps))
    return segments * layout.segment_steps


def ring_bytes(layout: Layout, total_records: int | None = None) -> int:
    """Bytes on the device of the ring of a replay with ``layout``; ``total_records`` as in :func:`ring_steps`."""
    kept = (field for key, field in fields_of(layout.dtype).items() if key not in NOT_READ)
    record = sum(int(np.prod(shape)) * scalar.itemsize for shape, scalar in kept)
    return layout.num_envs * ring_steps(layout, total_records) * record


class Ring:
    """Record j of stream e is at ``[j % steps, e]`` of every tensor (steps, num_envs, ...), as long as it is live.

    Everything is queued on the current CUDA stream, so a gather sees what was written before it and nothing later.
    """

    def __init__(self, layout: Layout, device: torch.device, total_records: int | None = None) -> None:
        """``total_records``: what each stream is expected to write; should there be more, the ring grows."""
        self.layout, self.device = layout, device
        self.steps = ring_steps(layout, total_records)
        self.tensors: dict[str, torch.Tensor] = {}
        for key, (shape, scalar) in fields_of(layout.dtype).items():
            if key not in NOT_READ:
                size = self.steps, layout.num_envs, *shape
                self.tensors[key] = torch.empty(size, dtype=torch_dtype(scalar), device=device)

    def rows(self, streams: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Where records are in the tensors with their first two dimensions flattened; growing leaves them there."""
        return numbers % self.steps * self.layout.num_envs + streams

    def write(self, records: Mapping[str, np.ndarray], envs: Sequence[int], numbers: Sequence[int]) -> None:
        """Copy rows ``envs`` of ``records``, arrays (num_envs, ...), which are records ``numbers`` of their streams."""
        self._reserve(max(numbers) + 1)
        chosen = np.asarray(envs)
        rows = self._upload(self.rows(chosen, np.asarray(numbers)))
        for key, tensor in self.tensors.items():
            tensor.flatten(0, 1).index_copy_(0, rows, self._upload(records[key][chosen]))

    def fill(self, streams: Sequence[Stream]) -> None:
        """Copy all live records from the files."""
        self._reserve(max(stream.cursor for stream in streams))
        began, said = time.monotonic(), False
        for env, stream in enumerate(streams):
            for start in range(stream.first_record, stream.cursor, CHUNK):
                number = start
                for fields, begin, end in stream.window(start, min(CHUNK, stream.cursor - start)):
                    # whole segments go round the ring, so a piece of one is a run of rows
                    row = number % self.steps
                    for key, tensor in self.tensors.items():
                        tensor[row : row + end - begin, env].copy_(self._upload(fields[key][begin:end]))
                    number += end - begin
                if not said and time.monotonic() - began > SAY_AFTER:
                    said = True
                    size = readable(sum(tensor.nbytes for tensor in self.tensors.values()))
                    log.warning("replay: copying the records from the files to %s, up to %s ...", self.device, size)

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        """``array`` on the device; the copy is waited for by nobody."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _reserve(self, records: int) -> None:
        """Room for record ``records - 1`` of a stream: more of it, while there is less than for all live ones."""
        most = ring_steps(self.layout)
        if records <= self.steps or self.steps == most:
            return
        held, self.steps = self.steps, min(most, max(ring_steps(self.layout, records), 2 * self.steps))
        for key, tensor in self.tensors.items():
            grown = tensor.new_empty((self.steps, *tensor.shape[1:]))
            grown[:held] = tensor
            self.tensors[key] = grown


class RingGather:
    """What :class:`replay.batch.Gather` does, out of a ring: only the numbers of rows go to the device."""

    def __init__(self, ring: Ring, gather: Gather) -> None:
        """``gather`` says which records a row of a batch has, and where batches go."""
        self.ring, self.gather = ring, gather

    def host(self, count: int) -> Host:
        pin = self.ring.device.type == "cuda"
        return {"rows": torch.empty((count, self.gather.run), dtype=torch.int64, pin_memory=pin)}

    def locate(self, runs: np.ndarray) -> np.ndarray:
        return self.ring.rows(runs[:, :1], self.gather.numbers(runs))

    def fill(self, host: Host, located: np.ndarray) -> None:
        host["rows"].numpy()[:] = located

    def batch(self, host: Host) -> dict[str, torch.Tensor]:
        rows = host["rows"].to(self.ring.device, non_blocking=True)
        batch = self.gather.pick(self.ring.tensors, rows)
        # whoever reads main memory does not wait for a device: the values have to be there
        later = self.gather.device.type != "cpu"
        return {key: value.to(self.gather.device, non_blocking=later) for key, value in batch.items()}
