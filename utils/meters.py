"""Running means of metrics that stay on the device until somebody wants to see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class _Group:
    """Sums of the metrics that always arrive together: one vector, so adding forty of them costs three kernels."""

    keys: tuple[str, ...]
    total: Tensor  # (len(keys),) float64
    count: int


class Meters:
    """Means per key since the last ``clear``; a tensor is never read before ``means`` or ``state_dict``.

    Sums are float64 and are added up in the order of the calls, so a restored meter continues to the same last bit.
    A key's mean is over the calls that contained this key.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._host: dict[str, tuple[float, int]] = {}  # key -> (sum, count)

    @torch.no_grad()
    def add(self, metrics: Mapping[str, float | Tensor]) -> None:
        """Add one value per key: plain numbers or 0-dim tensors of any dtype and device.

        The values are copied at once: a tensor may be overwritten afterwards (CUDA graphs reuse their outputs).

        Raises:
            ValueError: a tensor has more or fewer than one element.
        """
        by_device: dict[torch.device, dict[str, Tensor]] = {}
        for key, value in metrics.items():
            if isinstance(value, Tensor):
                if value.numel() != 1:
                    raise ValueError(f"metric {key!r} has shape {tuple(value.shape)}; a metric is one number")
                by_device.setdefault(value.device, {})[key] = value.detach().reshape(())
            else:
                total, count = self._host.get(key, (0.0, 0))
                self._host[key] = (total + float(value), count + 1)
        for device, tensors in by_device.items():
            self._add_group(tuple(tensors), _stack(list(tensors.values()), device))

    def _add_group(self, keys: tuple[str, ...], values: Tensor) -> None:
        group = self._groups.get(keys)
        if group is None:
            self._groups[keys] = _Group(keys, values, 1)
        else:  # a restored sum lies on the CPU: it follows the metrics to their device
            group.total = group.total.to(values.device, values.dtype) + values
            group.count += 1

    def means(self) -> dict[str, float]:
        """The mean of every key. This waits for the device, once per set of keys that arrived together."""
        sums: dict[str, tuple[float, int]] = {}
        for group in self._groups.values():
            for key, total in zip(group.keys, group.total.tolist(), strict=True):
                old, count = sums.get(key, (0.0, 0))
                sums[key] = (old + total, count + group.count)
        for key, (total, count) in self._host.items():
            old, before = sums.get(key, (0.0, 0))
            sums[key] = (old + total, before + count)
        return {key: total / count for key, (total, count) in sums.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._host.clear()

    def state_dict(self) -> dict[str, Any]:
        """The sums as plain numbers. This waits for the device."""
        groups = [[list(group.keys), group.total.tolist(), group.count] for group in self._groups.values()]
        return {"groups": groups, "host": {key: list(value) for key, value in self._host.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of another instance."""
        self._groups = {
            tuple(keys): _Group(tuple(keys), torch.tensor(total, dtype=torch.float64), int(count))
            for keys, total, count in state["groups"]
        }
        self._host = {key: (float(total), int(count)) for key, (total, count) in state["host"].items()}


def read(metrics: Mapping[str, float | Tensor]) -> dict[str, float]:
    """All values as floats, with one wait for the device instead of one per key."""
    once = Meters()
    once.add(metrics)
    return once.means()


def _stack(tensors: list[Tensor], device: torch.device) -> Tensor:
    dtype = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    # Only odd dtypes are converted one by one: an integer above 2**24 would not survive the way through float32.
    return torch.stack([t if t.dtype == torch.float32 else t.to(dtype) for t in tensors]).to(dtype)
