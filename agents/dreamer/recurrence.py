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
    """What T steps are given besides the state, for N states."""

    action: Tensor
    """(N, T, U), the action's part of the layer before the GRU, with its bias."""
    hidden: Tensor
    """(N, T, U), or (U,) for all, what the layer before the logits adds to the state's part."""
    uniform: Tensor
    """(T, N, groups, 1), the random numbers of the samples, see :func:`agents.nn.distributions.below_one`."""
    keep: Tensor | None
    """(N, T, 1), 0 where the state is reset before the step."""


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


def forward_step(
    weights: Weights,
    deter: Tensor,
    state: Tensor,
    action: Tensor,
    hidden: Tensor,
    room: Tensor,
    uniform: Tensor,
    keep: tuple[Tensor, Tensor] | None,
) -> Step:
    """States (N, D) one step on; nothing is recorded.

    ``state`` (N, L + D) is the sample and the same states, in the type of products; so is what ``room``, zeros, is
    overwritten with. ``action``, ``hidden`` and ``uniform`` are those of :class:`Given` at this step; the first two,
    but for a ``hidden`` that is the same for all, are overwritten with the layers they are part of. ``keep``: 0 where
    the state is reset before, for ``deter`` and in the type of products.

    h' = h + sigma(u - 1) (tanh(sigma(r) c) - h), where [r, c, u] = LayerNorm(W [ELU(W_s s + a), h] + b); then the
    sample of softmax(W_l ELU(W_h h' + e)). The -1 is part of ``norm_bias``.
    """
    if keep is not None:
        deter, state = deter * keep[0], state * keep[1]
    size, latent = deter.shape[-1], weights.stoch.shape[-1]
    stoch = state[:, :latent]
    x = F.elu(action.addmm_(stoch, weights.stoch.t()), inplace=True)
    inner = torch.cat([x, state[:, latent:]], -1)
    raw = F.linear(inner, weights.gates, weights.gates_bias).to(deter.dtype)
    normed, mean, rstd = torch.native_layer_norm(raw, [3 * size], weights.norm, weights.norm_bias, EPS)
    gates = torch.sigmoid(normed)
    candidate = torch.tanh(gates[:, :size] * normed[:, size : 2 * size])
    new = torch.lerp(deter, candidate, gates[:, 2 * size :])
    narrow = room[:, latent:].copy_(new)
    if hidden.dim() == 1:
        hidden = F.linear(narrow, weights.deter, hidden)
    else:
        hidden.addmm_(narrow, weights.deter.t())
    hidden = F.elu(hidden, inplace=True)
    logits = F.linear(hidden, weights.logits, weights.logits_bias)
    groups = uniform.shape[-2]
    probs = softmax(logits.unflatten(-1, (groups, -1)), new.dtype)
    sample = draw(probs, uniform, room[:, :latent].unflatten(-1, (groups, -1))).flatten(-2)
    return Step(
        new, sample, logits, deter, stoch, inner, raw, mean, rstd, normed, gates, candidate, narrow, hidden, probs
    )


class Slopes(NamedTuple):
    """What the backward pass of the GRU multiplies with; of all steps at once, (..., D) and (..., 3 D)."""

    candidate: Tensor
    """dh' / d(r c), by tanh: u (1 - tanh^2)."""
    gates: Tensor
    """Of [r, c, u]: [c r (1 - r), r, (tanh - h) u (1 - u)], r and u sigmoids; the first two of d(r c)."""
    before: Tensor
    """dh' / dh: 1 - u."""


def slopes(candidate: Tensor, normed: Tensor, gates: Tensor, before: Tensor) -> Slopes:
    """Of the fields of :class:`Step` with these names."""
    reset, _, update = gates.chunk(3, -1)
    inside = normed.chunk(3, -1)[1]
    by_reset = torch.ops.aten.sigmoid_backward(inside, reset)
    by_update = torch.ops.aten.sigmoid_backward(candidate - before, update)
    gate_slopes = torch.cat([by_reset, reset, by_update], -1)
    return Slopes(torch.ops.aten.tanh_backward(update, candidate), gate_slopes, 1 - update)


def backward_step(
    weights: Weights, step: Step, slope: Slopes, deter: Tensor, stoch: Tensor | None, logits: Tensor | None
) -> Gradients:
    """From gradients with respect to a step's new state (N, D), sample (N, L) and logits (N, L) to those before it, as
    if it had not been reset.

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
    to_candidate = deter * slope.candidate
    to_normed = torch.cat([to_candidate, to_candidate, deter], -1) * slope.gates
    to_raw = _norm_backward(weights, to_normed, step.raw, step.mean, step.rstd, [True, False, False])[0]
    to_raw = to_raw.to(step.inner.dtype)
    to_inner = to_raw @ weights.gates
    units = step.inner.shape[-1] - size
    before = torch.addcmul(to_inner[:, units:], deter, slope.before)
    to_action = _elu_backward(to_inner[:, :units], step.inner[:, :units])
    return Gradients(before, to_action @ weights.stoch, to_action, to_hidden, to_raw, to_normed, to_logits)


def weight_gradients(weights: Weights, steps: Sequence[Step], found: Sequence[Gradients]) -> Weights:
    """Of all steps together."""

    def every(parts: Sequence[Any], name: str) -> Tensor:
        rows = [getattr(part, name) for part in parts]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    action, hidden, raw, logits = (every(found, name) for name in ("action", "hidden", "raw", "logits"))
    reads = every(steps, "raw"), every(steps, "mean"), every(steps, "rstd")
    _, norm, norm_bias = _norm_backward(weights, every(found, "normed"), *reads, [False, True, True])
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


Forward = Callable[..., Step]
Backward = Callable[[Weights, Step, Slopes, Tensor, Tensor | None, Tensor | None], Gradients]
Functions = tuple[Forward, Backward]
"""Of one step: :func:`forward_step` and :func:`backward_step`, or what a compiler made of them."""

Recurred = tuple[Tensor, Tensor, Tensor]


def recur(functions: Functions, deter: Tensor, stoch: Tensor, given: Given, weights: Weights) -> Recurred:
    """T steps from deter (N, D) and stoch (N, groups, classes): deter (N, T, D), stoch and logits (N, T, groups,
    classes), these in the type of products.
    """
    if torch.is_grad_enabled():
        return _Recurrence.apply(functions, deter, stoch, *given, *weights)  # type: ignore[no-any-return]
    room = _room(deter, given, weights)
    steps = [step[:3] for step in _walk(functions[0], deter, stoch, given, weights, room)]
    return _made_of(steps, room, stoch.shape[-2:])


def _room(deter: Tensor, given: Given, weights: Weights) -> Tensor:
    """Where samples and states of all steps come, in the type of products: zeros (T, N, L + D)."""
    length, width = given.action.shape[1], weights.stoch.shape[-1] + deter.shape[-1]
    return torch.zeros(length, len(deter), width, dtype=weights.stoch.dtype, device=deter.device)


def _walk(
    forward: Forward, deter: Tensor, stoch: Tensor, given: Given, weights: Weights, room: Tensor
) -> Iterator[Step]:
    latent = weights.stoch.shape[-1]
    state = torch.empty_like(room[0])
    state[:, :latent].copy_(stoch.flatten(-2))
    state[:, latent:].copy_(deter)
    # copies, which are overwritten
    action, hidden = (
        x if x.dim() == 1 else x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        for x in (given.action, given.hidden)
    )
    keep = None if given.keep is None else (given.keep, given.keep.to(state.dtype))
    for t in range(len(action)):
        keep_now = None if keep is None else (keep[0][:, t], keep[1][:, t])
        beside = hidden if hidden.dim() == 1 else hidden[t]
        step = forward(weights, deter, state, action[t], beside, room[t], given.uniform[t], keep_now)
        deter, state = step.deter, room[t]
        yield step


def _made_of(steps: Sequence[Sequence[Tensor]], room: Tensor, groups: Sequence[int]) -> Recurred:
    """States and logits of the first and third field of every step, and the samples, each of ``groups`` of classes."""
    deter, logits = (_stacked([step[i] for step in steps]) for i in (0, 2))
    samples = room[..., : logits.shape[-1]].unflatten(-1, groups)
    stoch = samples.transpose(0, 1).to(deter.dtype, memory_format=torch.contiguous_format)
    return deter, stoch, logits.unflatten(-1, groups)


_SLOPED = ("candidate", "normed", "gates", "before")
"""What :func:`slopes` reads."""


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: Functions, deter: Tensor, stoch: Tensor, *given: Tensor) -> Recurred:
        everything, weights = Given(*given[: len(Given._fields)]), Weights(*given[len(Given._fields) :])
        room = _room(deter, everything, weights)
        steps = list(_walk(functions[0], deter, stoch, everything, weights, room))
        ctx.set_materialize_grads(False)
        ctx.backward_step, ctx.groups, ctx.one_hidden = functions[1], stoch.shape[-2:], everything.hidden.dim() == 1
        ctx.save_for_backward(everything.keep, *weights, *(kept for step in steps for kept in step))
        return _made_of(steps, room, stoch.shape[-2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        keep, *kept = ctx.saved_tensors
        weights, kept = Weights(*kept[: len(Weights._fields)]), kept[len(Weights._fields) :]
        width = len(Step._fields)
        steps = [Step(*kept[i : i + width]) for i in range(0, len(kept), width)]
        fields = (_stacked([getattr(step, name) for step in steps]) for name in _SLOPED)
        slope = slopes(*fields)
        outside = [[None] * len(steps) if grad is None else list(grad.unbind(1)) for grad in grads]
        deter, stoch = outside[0][-1], outside[1][-1]
        if deter is None:
            deter = torch.zeros_like(steps[-1].deter)
        found: list[Gradients] = []
        for t in reversed(range(len(steps))):
            to_logits = outside[2][t]
            one = ctx.backward_step(
                *(weights, steps[t], Slopes(*(x[:, t] for x in slope)), deter),
                *(None if grad is None else grad.flatten(-2) for grad in (stoch, to_logits)),
            )
            found.append(one)
            deter, stoch = one.deter, one.stoch.unflatten(-1, ctx.groups)
            deter_outside, stoch_outside = (part[t - 1] if t else None for part in outside[:2])
            kept_here = None if keep is None else keep[:, t]
            deter = _reset_and_joined(deter, kept_here, deter_outside)
            stoch = _reset_and_joined(stoch, None if kept_here is None else kept_here[..., None], stoch_outside)
        found.reverse()
        _, wants_deter, wants_stoch, wants_action, wants_hidden, _, _, *wants = ctx.needs_input_grad
        hidden = _stacked([one.hidden for one in found]) if wants_hidden else None
        if hidden is not None and ctx.one_hidden:
            hidden = hidden.sum((0, 1))
        return (
            None,
            deter if wants_deter else None,
            stoch.to(deter.dtype) if wants_stoch and stoch is not None else None,
            _stacked([one.action for one in found]) if wants_action else None,
            hidden,
            *(None, None),
            *(weight_gradients(weights, steps, found) if any(wants) else [None] * len(wants)),
        )


def _reset_and_joined(grad: Tensor, keep: Tensor | None, other: Tensor | None) -> Tensor:
    """``grad * keep + other``, of what there is."""
    if keep is not None:
        return grad * keep if other is None else torch.addcmul(other, grad, keep)
    return grad if other is None else grad + other


def _stacked(rows: list[Tensor]) -> Tensor:
    """(N, ...) of every time -> (N, T, ...)."""
    return rows[0].unsqueeze(1) if len(rows) == 1 else torch.stack(rows, 1)
