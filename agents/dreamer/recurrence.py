"""The recurrence of an RSSM with a backward pass by hand: few operations a step, products for weights once for all."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.nn.distributions import draw, softmax, softmax_backward

EPS = 1e-5
"""Of the LayerNorm."""


class Weights(NamedTuple):
    """Of one step: matrices and their biases in the type that products are taken in, the LayerNorm's in that of states.

    D: deterministic state, L: latent (groups times classes), U: units of hidden layers.
    """

    stoch: Tensor
    """(U, L), of the sample in the layer before the GRU."""
    gates: Tensor
    """(3 D, U + D), of the GRU: reset, candidate, update."""
    gates_bias: Tensor
    norm: Tensor
    """(3 D,)"""
    norm_bias: Tensor
    deter: Tensor
    """(U, D), of the deterministic state in the layer before the logits."""
    logits: Tensor
    """(L, U)"""
    logits_bias: Tensor


class Given(NamedTuple):
    """What a step is given besides the state, for N states."""

    action: Tensor
    """(N, U), the action's part of the layer before the GRU, with its bias."""
    hidden: Tensor
    """(N, U) or (U,), what the layer before the logits adds to the state's part."""
    uniform: Tensor
    """(N, groups, 1), the random numbers of the sample."""
    keep: Tensor | None
    """(N, 1), 0 where the state is reset before the step."""


class Step(NamedTuple):
    """One step, with all that its backward pass reads."""

    deter: Tensor
    """(N, D), the new deterministic state."""
    one_hot: Tensor
    """(N, L), the new sample, in the type of products."""
    logits: Tensor
    """(N, L), in the type of products."""
    before: Tensor
    """(N, D), the state before, reset where it had to be."""
    stoch: Tensor
    """(N, L), and its sample."""
    inner: Tensor
    """(N, U + D), what the GRU reads."""
    raw: Tensor
    """(N, 3 D), its gates before the LayerNorm, and that one's mean and reciprocal deviation."""
    mean: Tensor
    rstd: Tensor
    normed: Tensor
    """(N, 3 D), the gates after the LayerNorm, and their sigmoids."""
    gates: Tensor
    candidate: Tensor
    """(N, D)"""
    narrow: Tensor
    """(N, D), ``deter`` in the type of products."""
    hidden: Tensor
    """(N, U), the layer before the logits."""
    probs: Tensor
    """(N, groups, classes)"""


class Gradients(NamedTuple):
    """With respect to the inputs of one step and to what weights are multiplied with."""

    deter: Tensor
    stoch: Tensor
    action: Tensor
    hidden: Tensor
    raw: Tensor
    """In the type of products."""
    normed: Tensor
    logits: Tensor


def forward_step(weights: Weights, deter: Tensor, stoch: Tensor, given: Given) -> Step:
    """States (N, D) and samples (N, L), those in the type of products, one step on; nothing is recorded.

    h' = h + sigma(u - 1) (tanh(sigma(r) c) - h), where [r, c, u] = LayerNorm(W [ELU(W_s s + a), h] + b); then the
    sample of softmax(W_l ELU(W_h h' + e)). The -1 is part of ``norm_bias``.
    """
    if given.keep is not None:
        deter, stoch = deter * given.keep, stoch * given.keep.to(stoch.dtype)
    size = deter.shape[-1]
    x = F.elu(torch.addmm(given.action, stoch, weights.stoch.t()), inplace=True)
    inner = torch.cat([x, deter.to(x.dtype)], -1)
    raw = F.linear(inner, weights.gates, weights.gates_bias).to(deter.dtype)
    normed, mean, rstd = torch.native_layer_norm(raw, [3 * size], weights.norm, weights.norm_bias, EPS)
    gates = torch.sigmoid(normed)
    candidate = torch.tanh(gates[:, :size] * normed[:, size : 2 * size])
    new = torch.lerp(deter, candidate, gates[:, 2 * size :])
    narrow = new.to(x.dtype)
    hidden = F.elu(torch.addmm(given.hidden, narrow, weights.deter.t()), inplace=True)
    logits = F.linear(hidden, weights.logits, weights.logits_bias)
    probs = softmax(logits.unflatten(-1, (given.uniform.shape[-2], -1)).to(new.dtype))
    one_hot = draw(probs, given.uniform, logits.dtype).flatten(-2)
    return Step(
        new, one_hot, logits, deter, stoch, inner, raw, mean, rstd, normed, gates, candidate, narrow, hidden, probs
    )


def backward_step(
    weights: Weights, step: Step, keep: Tensor | None, deter: Tensor, stoch: Tensor | None, logits: Tensor | None
) -> Gradients:
    """From gradients with respect to a step's new state (N, D), sample (N, L) and logits (N, L) to those before it.

    The sample's gradient is that of the probabilities (straight-through).
    """
    size = step.deter.shape[-1]
    if stoch is not None:
        through = softmax_backward(stoch.unflatten(-1, step.probs.shape[-2:]), step.probs).flatten(-2)
        logits = through if logits is None else through + logits
    if logits is None:
        to_logits, to_hidden = torch.zeros_like(step.logits), torch.zeros_like(step.hidden)
    else:
        to_logits = logits.to(step.logits.dtype)
        to_hidden = _elu_backward(to_logits @ weights.logits, step.hidden)
        deter = deter + to_hidden @ weights.deter
    reset, update = step.gates[:, :size], step.gates[:, 2 * size :]
    inside = step.normed[:, size : 2 * size]
    to_candidate = torch.ops.aten.tanh_backward(deter * update, step.candidate)
    to_normed = torch.cat(
        [
            torch.ops.aten.sigmoid_backward(to_candidate * inside, reset),
            to_candidate * reset,
            torch.ops.aten.sigmoid_backward(deter * (step.candidate - step.before), update),
        ],
        -1,
    )
    before = torch.addcmul(deter, deter, update, value=-1)
    to_raw = _norm_backward(weights, to_normed, step.raw, step.mean, step.rstd, [True, False, False])[0]
    to_raw = to_raw.to(step.inner.dtype)
    to_inner = to_raw @ weights.gates
    units = step.inner.shape[-1] - size
    before = before + to_inner[:, units:]
    to_action = _elu_backward(to_inner[:, :units], step.inner[:, :units])
    to_stoch = to_action @ weights.stoch
    if keep is None:
        to_stoch = to_stoch.to(deter.dtype)
    else:
        before, to_stoch = before * keep, to_stoch * keep
    return Gradients(before, to_stoch, to_action, to_hidden, to_raw, to_normed, to_logits)


def weight_gradients(weights: Weights, steps: Sequence[Step], found: Sequence[Gradients]) -> Weights:
    """Of all steps together."""

    def every(parts: Sequence[Any], name: str) -> Tensor:
        rows = [getattr(part, name) for part in parts]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    action, hidden, raw, logits = (every(found, name) for name in ("action", "hidden", "raw", "logits"))
    moments = (every(steps, name) for name in ("raw", "mean", "rstd"))
    _, norm, norm_bias = _norm_backward(weights, every(found, "normed"), *moments, [False, True, True])
    return Weights(
        stoch=action.t() @ every(steps, "stoch"),
        gates=raw.t() @ every(steps, "inner"),
        gates_bias=raw.sum(0),
        norm=norm,
        norm_bias=norm_bias,
        deter=hidden.t() @ every(steps, "narrow"),
        logits=logits.t() @ every(steps, "hidden"),
        logits_bias=logits.sum(0),
    )


def _elu_backward(grad: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, out)  # type: ignore[no-any-return]


def _norm_backward(
    weights: Weights, grad: Tensor, raw: Tensor, mean: Tensor, rstd: Tensor, mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.native_layer_norm_backward(  # type: ignore[no-any-return]
        grad, raw, [raw.shape[-1]], mean, rstd, weights.norm, weights.norm_bias, mask
    )


Forward = Callable[[Weights, Tensor, Tensor, Given], Step]
Backward = Callable[[Weights, Step, Tensor | None, Tensor, Tensor | None, Tensor | None], Gradients]


Functions = tuple[Forward, Backward]
"""Of one step: :func:`forward_step` and :func:`backward_step`, or what a compiler made of them."""

Recurred = tuple[Tensor, Tensor, Tensor]


def recur(functions: Functions, deter: Tensor, stoch: Tensor, given: Given, weights: Weights) -> Recurred:
    """T steps from deter (N, D) and stoch (N, groups, classes); ``given`` has the times of every row, (N, T, ...), but
    for a ``hidden`` (U,) that is the same for all.

    Returns deter (N, T, D), stoch and logits (N, T, groups, classes).
    """
    if torch.is_grad_enabled():
        return _Recurrence.apply(functions, deter, stoch, *given, *weights)  # type: ignore[no-any-return]
    return _made_of([step[:3] for step in _walk(functions[0], deter, stoch, given, weights)], stoch.shape[-2:])


def _walk(forward: Forward, deter: Tensor, stoch: Tensor, given: Given, weights: Weights) -> Iterator[Step]:
    sample = stoch.flatten(-2).to(weights.stoch.dtype)
    for t in range(given.action.shape[1]):
        step = forward(weights, deter, sample, _at(given, t))
        deter, sample = step.deter, step.one_hot
        yield step


def _made_of(steps: Sequence[Sequence[Tensor]], groups: Sequence[int]) -> Recurred:
    """Of the first three fields of every step."""
    deter, stoch, logits = (_stacked([step[i] for step in steps]) for i in range(3))
    return deter, *(x.to(deter.dtype).unflatten(-1, groups) for x in (stoch, logits))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: Functions, deter: Tensor, stoch: Tensor, *given: Tensor) -> Recurred:
        everything, weights = Given(*given[: len(Given._fields)]), Weights(*given[len(Given._fields) :])
        steps = list(_walk(functions[0], deter, stoch, everything, weights))
        ctx.set_materialize_grads(False)
        ctx.backward_step, ctx.groups, ctx.one_hidden = functions[1], stoch.shape[-2:], everything.hidden.dim() == 1
        ctx.save_for_backward(everything.keep, *weights, *(kept for step in steps for kept in step))
        return _made_of(steps, ctx.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        keep, *kept = ctx.saved_tensors
        weights, kept = Weights(*kept[: len(Weights._fields)]), kept[len(Weights._fields) :]
        width = len(Step._fields)
        steps = [Step(*kept[i : i + width]) for i in range(0, len(kept), width)]
        deter = torch.zeros_like(steps[-1].deter)
        stoch: Tensor | None = None
        found: list[Gradients] = []
        for t in reversed(range(len(steps))):
            to_deter, to_stoch, to_logits = (None if grad is None else grad[:, t] for grad in grads)
            if to_deter is not None:
                deter = deter + to_deter
            if to_stoch is not None:
                to_stoch = to_stoch.flatten(-2)
                stoch = to_stoch if stoch is None else stoch + to_stoch
            to_logits = None if to_logits is None else to_logits.flatten(-2)
            kept_now = None if keep is None else keep[:, t]
            found.append(ctx.backward_step(weights, steps[t], kept_now, deter, stoch, to_logits))
            deter, stoch = found[-1].deter, found[-1].stoch
        found.reverse()
        _, wants_deter, wants_stoch, wants_action, wants_hidden, _, _, *wants = ctx.needs_input_grad
        hidden = _stacked([one.hidden for one in found]) if wants_hidden else None
        if hidden is not None and ctx.one_hidden:
            hidden = hidden.sum((0, 1))
        return (
            None,
            deter if wants_deter else None,
            stoch.unflatten(-1, ctx.groups) if wants_stoch and stoch is not None else None,
            _stacked([one.action for one in found]) if wants_action else None,
            hidden,
            None,
            None,
            *(weight_gradients(weights, steps, found) if any(wants) else [None] * len(wants)),
        )


def _at(given: Given, t: int) -> Given:
    """Of time t."""
    hidden = given.hidden if given.hidden.dim() == 1 else given.hidden[:, t]
    return Given(given.action[:, t], hidden, given.uniform[:, t], None if given.keep is None else given.keep[:, t])


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """(N, ...) of every time -> (N, T, ...)."""
    return rows[0].unsqueeze(1) if len(rows) == 1 else torch.stack(rows, 1)
