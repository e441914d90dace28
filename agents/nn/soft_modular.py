"""Soft modularisation: layers of modules, and a network that decides how the modules are connected."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn import across


class Modules(nn.Module):
    """M linear modules side by side, held as one (M, inputs, outputs) tensor: (..., M or 1, H) -> (..., M, H).

    ``batch_norm`` normalises every unit of every module over the rows, before and after the linear map. There is then
    one bias, the last: the second normalisation would cancel any before it.
    """

    def __init__(self, count: int, size: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.count, self.size = count, size
        bound = size**-0.5  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(count, size, size).uniform_(-bound, bound))
        self.bias = None if batch_norm else nn.Parameter(torch.empty(count, 1, size).uniform_(-bound, bound))
        self.norm_in = UnitNorm(count, size, bias=False) if batch_norm else nn.Identity()
        self.norm_out = UnitNorm(count, size, bias=True) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm_in(x.reshape(-1, x.shape[-2], self.size).expand(-1, self.count, -1)).transpose(0, 1)
        out = rows @ self.weight if self.bias is None else torch.baddbmm(self.bias, rows, self.weight)
        return self.norm_out(out.transpose(0, 1)).reshape(*x.shape[:-2], self.count, self.size)


class UnitNorm(nn.BatchNorm1d):
    """Batch normalisation over rows of (rows, M, H), one mean and variance for each of the M * H units.

    The running statistics are weighted means of those of the batches alone, corrected as Adam's are. torch's own also
    contain a share of 0.9^n, n batches seen, of the start: mean 0 and variance 1, which may be far from any data.
    """

    def __init__(self, count: int, size: int, *, bias: bool) -> None:
        super().__init__(count * size)
        if not bias:
            self.register_parameter("bias", None)

    def reset_running_stats(self) -> None:
        super().reset_running_stats()
        assert self.running_var is not None
        self.running_var.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            rows = x.flatten(1)
            return (super().forward(rows) if across.size() == 1 else self._of_all(rows)).view_as(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        share = 1 - (1 - self.momentum) ** self.num_batches_tracked  # of the batches in the running statistics
        mean = self.running_mean / share.clamp(min=self.momentum)
        var = torch.where(share > 0, self.running_var / share.clamp(min=self.momentum), 1.0)
        return F.batch_norm(x.flatten(1), mean, var, self.weight, self.bias, eps=self.eps).view_as(x)

    def _of_all(self, rows: Tensor) -> Tensor:
        """What torch's computes of rows (N, M * H), with the statistics of those of all processes."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        with torch.autocast(rows.device.type, enabled=False):
            values, count = rows.float(), len(rows) * across.size()
            mean = across.averaged(values.mean(0))
            var = across.averaged((values - mean).square().mean(0))
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / (count - 1), self.momentum)
            out = (values - mean) * (var + self.eps).rsqrt() * self.weight
        return (out if self.bias is None else out + self.bias).to(rows.dtype)


class SoftModular(nn.Module):
    """L layers of M modules of width H, soft-routed by the task (Yang et al. 2020, section 3).

    With the feature f and the task embedding g, all (..., H) and broadcast against each other::

        u = G relu(g * f)
        p^1 = softmax(W^1 relu(u) / temperature)                          M x M, over the last axis
        p^{l+1} = softmax(W^{l+1} relu(V^l [p^1 ... p^l] * u) / temperature)
        module j of layer l+1 receives relu(sum_i p^l[j, i] out_i^l); the first layer receives relu(f)
        result = relu(sum_i p^L[i] out_i^L)                               the last routing has M weights

    ``forward(f, g)`` gives (..., H). What does not depend on g (the first layer) is computed once for all g: pass
    f as (N, 1, H) and g as (n, H) for every pair of N features and n tasks.
    """

    def __init__(
        self, size: int, *, modules: int, layers: int, temperature: float = 1.0, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.count, self.temperature = modules, temperature
        self.layers = nn.ModuleList(Modules(modules, size, batch_norm=batch_norm) for _ in range(layers))
        self.gate = nn.Linear(size, size)
        routes = [modules * modules] * (layers - 1) + [modules]
        self.logits = nn.ModuleList(nn.Linear(size, route) for route in routes)
        self.conditions = nn.ModuleList(nn.Linear(modules * modules * (i + 1), size) for i in range(layers - 1))

    def routing(self, f: Tensor, g: Tensor) -> list[Tensor]:
        """p^1 .. p^L: (..., M, M) but the last, (..., M)."""
        u = self.gate(F.relu(g * f))
        flat: list[Tensor] = []
        found: list[Tensor] = []
        for index, layer in enumerate(self.logits):
            hidden = self.conditions[index - 1](torch.cat(flat, -1)) * u if index else u
            raw = layer(F.relu(hidden)).float() / self.temperature
            if index < len(self.logits) - 1:
                found.append(F.softmax(raw.unflatten(-1, (self.count, self.count)), -1))
                flat.append(found[-1].flatten(-2))
            else:
                found.append(F.softmax(raw, -1))
        return found

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        *inner, last = self.routing(f, g)
        out = self.layers[0](F.relu(f)[..., None, :])
        for route, layer in zip(inner, self.layers[1:], strict=True):
            out = layer(F.relu(route.to(out.dtype) @ out))
        return F.relu((last.to(out.dtype)[..., None, :] @ out)[..., 0, :])
