"""The backward pass written by hand against autograd of the plain formulas."""

import pytest
import torch
from torch.nn import functional as F

from agents.dreamer.recurrence import Given, Weights, backward_step, forward_step, recur
from agents.dreamer.rssm import RSSM

N, T, DETER, UNITS, GROUPS, CLASSES = 4, 5, 6, 7, 3, 5


def made(dtype, seed=0, one_hidden=False, resets=True):
    """Deter, stoch, given and weights of random numbers, all with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    flat = GROUPS * CLASSES
    weights = Weights(
        stoch=some(UNITS, flat),
        gates=some(3 * DETER, UNITS + DETER),
        gates_bias=some(3 * DETER),
        norm=some(3 * DETER),
        norm_bias=some(3 * DETER),
        deter=some(UNITS, DETER),
        logits=some(flat, UNITS),
        logits_bias=some(flat),
    )
    hidden = some(UNITS) if one_hidden else some(N, T, UNITS)
    keep = (torch.rand(N, T, 1, generator=generator) > 0.3).to(dtype) if resets else None
    uniform = torch.rand(T, N, GROUPS, 1, generator=generator, dtype=torch.float64).to(dtype)
    start = F.one_hot(torch.randint(CLASSES, (N, GROUPS), generator=generator), CLASSES).to(dtype).requires_grad_()
    return some(N, DETER), start, Given(some(N, T, UNITS), hidden, uniform, keep), weights


def plain(deter, stoch, given, weights):
    """The same in torch's own operations, sample and straight-through gradient written out."""
    found = []
    for t in range(T):
        keep = 1.0 if given.keep is None else given.keep[:, t]
        deter, sample = deter * keep, stoch.flatten(-2) * keep
        x = F.elu(given.action[:, t] + sample @ weights.stoch.T)
        gates = F.linear(torch.cat([x, deter], -1), weights.gates, weights.gates_bias)
        reset, candidate, update = F.layer_norm(gates, [3 * DETER], weights.norm, weights.norm_bias).chunk(3, -1)
        candidate, update = torch.tanh(torch.sigmoid(reset) * candidate), torch.sigmoid(update)
        deter = update * candidate + (1 - update) * deter
        beside = given.hidden if given.hidden.dim() == 1 else given.hidden[:, t]
        hidden = F.elu(deter @ weights.deter.T + beside)
        logits = F.linear(hidden, weights.logits, weights.logits_bias).unflatten(-1, (GROUPS, CLASSES))
        probs = logits.softmax(-1)
        index = (probs.cumsum(-1) <= given.uniform[t]).sum(-1).clamp(max=CLASSES - 1)
        stoch = F.one_hot(index, CLASSES) + probs - probs.detach()
        found.append((deter, stoch, logits))
    return tuple(torch.stack(xs, 1) for xs in zip(*found, strict=True))


def gradients(function, inputs, mix):
    outputs = function(*inputs)
    sum((m * x).sum() for m, x in zip(mix, outputs, strict=True) if m is not None).backward()
    deter, stoch, given, weights = inputs
    leaves = {"deter": deter, "stoch": stoch, "action": given.action, "hidden": given.hidden} | weights._asdict()
    return outputs, {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("read", [(True, True, True), (True, False, False), (False, True, False), (True, True, False)])
@pytest.mark.parametrize(("one_hidden", "resets"), [(False, True), (True, False)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_forward_and_backward_are_those_of_autograd(dtype, tolerance, one_hidden, resets, read):
    mix = [torch.randn(N, T, *size, dtype=dtype) for size in ((DETER,), (GROUPS, CLASSES), (GROUPS, CLASSES))]
    mix = [m if wanted else None for m, wanted in zip(mix, read, strict=True)]
    hand = lambda *inputs: recur((forward_step, backward_step), *inputs)  # noqa: E731
    got, grads = gradients(hand, made(dtype, one_hidden=one_hidden, resets=resets), mix)
    want, wanted = gradients(plain, made(dtype, one_hidden=one_hidden, resets=resets), mix)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=tolerance, atol=tolerance)
    assert torch.equal(got[1].detach().round(), got[1].detach())
    for name, grad in wanted.items():
        assert grad.abs().max() > 0
        torch.testing.assert_close(grads[name], grad, rtol=tolerance, atol=tolerance * float(grad.abs().max()))


def test_frozen_weights_get_no_gradient_and_inputs_do():
    deter, stoch, given, weights = made(torch.float64)
    frozen = Weights(*(w.detach() for w in weights))
    sum(x.sum() for x in recur((forward_step, backward_step), deter, stoch, given, frozen)).backward()
    assert all(w.grad is None for w in frozen) and given.action.grad.abs().max() > 0 and deter.grad.abs().max() > 0


def test_without_gradients_the_same_and_nothing_is_kept():
    inputs = made(torch.float32)
    want = recur((forward_step, backward_step), *inputs)
    with torch.no_grad():
        got = recur((forward_step, backward_step), *inputs)
    assert all(torch.equal(a, b) and b.grad_fn is None for a, b in zip(want, got, strict=True))


def test_in_bfloat16_products_are_narrow_and_states_wide():
    """Close to float32, and gradients arrive at the parameters in their own type."""
    torch.manual_seed(0)
    rssm = RSSM(2, 5, deter=8, hidden=16, stoch=3, discrete=4)
    embed, action, first = torch.randn(3, 6, 5), torch.randn(3, 6, 2), torch.zeros(3, 6, dtype=torch.bool)
    found = []
    for narrow in (False, True):
        rssm.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            post, prior = rssm.observe(embed, action, first)
        assert post.deter.dtype == post.stoch.dtype == post.logits.dtype == prior.dtype == torch.float32
        (post.deter.square().sum() + post.logits.square().sum()).backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in rssm.parameters())
        found.append((post, {name: p.grad.clone() for name, p in rssm.named_parameters() if p.grad is not None}))
    (wide, grads), (narrow, others) = found
    assert set(grads) == set(others) and torch.equal(wide.stoch, narrow.stoch)
    assert 0 < (wide.deter - narrow.deter).abs().max() < 0.02
    for name, grad in grads.items():
        assert (grad - others[name]).norm() < 0.03 * grad.norm(), name


def test_a_gru_keeps_73_percent_at_first():
    """With all gates at their normalised zero, u = sigmoid(-1)."""
    rssm = RSSM(2, 5, deter=3, hidden=4, stoch=2, discrete=2)
    with torch.no_grad():
        rssm.cell.norm.weight.zero_()
    start = rssm.initial(4)._replace(deter=torch.randn(4, 3))
    new = rssm.imagine_step(start, torch.randn(4, 2))
    torch.testing.assert_close(new.deter.detach(), start.deter * (1 - 0.26894143))
