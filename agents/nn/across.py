"""An update that several processes make together, each on its share of the batch (``num_gpus``).

Every process holds the same agent and the rows of its share; all shares have as many. What each of them computes is
such that *the average over the processes* is what one process would compute of the whole batch:

- a loss is a mean over rows, or :func:`ratio` for means over those that count; :func:`average_gradients` does the rest
- what a loss is not linear in is taken of :func:`whole` batch means, and statistics of :func:`average`, :func:`total`,
  :func:`any_of`, :func:`moments` or of the rows of all (:func:`gathered`)
- random numbers are drawn for the whole batch in every process, from the same random state, and the share is taken of
  them (:func:`own_rows`): so all random states move on alike, and as that of one process

Outside of :func:`sharing`, so in every run on one GPU, all of this is the identity, and costs a look at a variable.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed


class Share(NamedTuple):
    """Which rows of a batch are this process's: those of number ``rank`` of ``among`` equal parts."""

    rank: int
    among: int


_share: Share | None = None


@contextmanager
def sharing() -> Iterator[None]:
    """Inside, this process computes on its share, in the default group of ``torch.distributed``."""
    global _share
    _share = Share(distributed.get_rank(), distributed.get_world_size())
    try:
        yield
    finally:
        _share = None


def size() -> int:
    """How many processes share the batch."""
    return 1 if _share is None else _share.among


# ---- random numbers


def own_rows(draw: Callable[[int], Tensor], rows: int, dim: int = 0) -> Tensor:
    """``draw(rows)``, which has so many in dimension ``dim``; among several, the share of what is drawn for all."""
    if _share is None:
        return draw(rows)
    return draw(_share.among * rows).narrow(dim, _share.rank * rows, rows)


def rand_like(x: Tensor, dim: int) -> Tensor:
    """``torch.rand_like(x)`` for ``x`` whose rows are dimension ``dim``, counted from the front or from the end."""
    return torch.rand_like(x) if _share is None else _like(torch.rand, x, dim)


def randn_like(x: Tensor, dim: int) -> Tensor:
    """The same of ``torch.randn_like``."""
    return torch.randn_like(x) if _share is None else _like(torch.randn, x, dim)


def _like(function: Callable[..., Tensor], x: Tensor, dim: int) -> Tensor:
    def draw(rows: int) -> Tensor:
        shape = list(x.shape)
        shape[dim] = rows
        return function(shape, dtype=x.dtype, device=x.device)

    return own_rows(draw, x.shape[dim], dim)


# ---- means and statistics


def ratio(part: Tensor, weight: Tensor, least: float) -> Tensor:
    """``part / max(weight, least)``, two sums over rows; among several its average is that of the sums over all."""
    if _share is None:
        return part / weight.clamp(min=least)
    return _share.among * part / total(weight).clamp(min=least)


def total(x: Tensor) -> Tensor:
    """The sum over the processes, without gradient."""
    if _share is None:
        return x
    x = x.detach().clone()
    distributed.all_reduce(x)
    return x


def average(x: Tensor) -> Tensor:
    """The mean over the processes, without gradient."""
    return x if _share is None else total(x) / _share.among


def whole(mean: Tensor) -> Tensor:
    """A mean over rows with the value it has over the whole batch; its gradient is that of this share."""
    return mean if _share is None else mean + (average(mean) - mean.detach())


def any_of(x: Tensor) -> Tensor:
    """Whether the 0-dim ``x``, bool, holds anywhere."""
    return x if _share is None else total(x.to(torch.int32)) > 0


def moments(rows: Tensor, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Variance and mean of rows (n, ...) as ``torch.var_mean`` has them, over those of all; without gradient then."""
    if _share is None:
        return torch.var_mean(rows, 0, correction=correction)
    spread, mean = torch.var_mean(rows.detach(), 0, correction=0)
    centre = average(mean)
    count = _share.among * len(rows)
    return average(spread + (mean - centre).square()) * count / (count - correction), centre


def gathered(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all, one share after the other, without gradient."""
    if _share is None:
        return rows
    found = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(_share.among)]
    distributed.all_gather(found, rows.detach().contiguous())
    return torch.cat(found)


def joined(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all, as :func:`gathered`, with a gradient for those of this process."""
    return rows if _share is None else _Joined.apply(rows)  # type: ignore[no-any-return]


class _Joined(torch.autograd.Function):
    """Every process's loss reads every row, so a row's gradient is the sum of what they find for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        return gathered(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return total(grad).narrow(0, first_row(ctx.count), ctx.count)


def first_row(rows: int) -> int:
    """Where the ``rows`` of this process begin among those :func:`gathered`."""
    return 0 if _share is None else _share.rank * rows


def averaged(mean: Tensor) -> Tensor:
    """A mean over rows as that over the whole batch, also in its gradient: as :func:`whole`, where rows of *other*
    shares depend on it, too.
    """
    return mean if _share is None else _Average.apply(mean)  # type: ignore[no-any-return]


class _Average(torch.autograd.Function):
    """The losses are averaged, too: every process's loss moves the common mean by its 1 / count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return average(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return average(grad)


# ---- what leaves an update


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Every ``grad`` that there is becomes the mean over the processes: one exchange for all."""
    if _share is None:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    for grad, mean in zip(grads, _at_once(grads), strict=True):
        grad.copy_(mean)


@torch.no_grad()
def averages(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """0-dim tensors by name, as means over the processes."""
    if _share is None or not values:
        return values
    return dict(zip(values, average(torch.stack([v.detach().float() for v in values.values()])).unbind(), strict=True))


def _at_once(tensors: Sequence[Tensor]) -> list[Tensor]:
    flat = average(torch.cat([x.flatten() for x in tensors]))
    return [part.view_as(x) for part, x in zip(flat.split([x.numel() for x in tensors]), tensors, strict=True)]
