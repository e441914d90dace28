import pytest
import reference64 as ref
import torch

from agents.dreamer.rssm import RSSM
from agents.nn.latent import Latent

GROUPS, DETER, EMBED, ACTION = (3, 4), 5, 7, 2


@pytest.fixture
def rssm():
    model = RSSM(ACTION, EMBED, deter=DETER, hidden=6, stoch=3, discrete=4)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2).add_(0.2 * torch.randn_like(p))
    return model


def records(batch=3, length=8):
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    first[0, 3] = first[1, 5] = first[1, 6] = first[2, 7] = True
    return torch.randn(batch, length, EMBED), torch.randn(batch, length, ACTION), first


def states(count, seed=5):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(4, (count, 3), generator=generator)
    stoch = torch.nn.functional.one_hot(index, 4).float()
    return Latent(
        torch.randn(count, DETER, generator=generator), stoch, torch.randn(count, *GROUPS, generator=generator)
    )


def same(latent, deter, stoch, logits):
    torch.testing.assert_close(latent.deter.double(), deter, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latent.stoch.double(), stoch, rtol=0, atol=1e-9)
    torch.testing.assert_close(latent.logits.double(), logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("given_start", [False, True])
def test_observe_is_the_loop_of_the_card(rssm, noise, given_start):
    embed, action, first = records()
    start = states(3) if given_start else None
    if given_start:
        first[:2, 0] = False
    post, prior_logits = rssm.observe(embed, action, first, start)
    weight, steps = ref.weights(rssm), noise.categorical_steps(3, GROUPS[0])[:8]
    deter, stoch, posts, priors = ref.observe(weight, embed, action, first, steps, GROUPS, DETER, start)
    same(post, deter, stoch, posts)
    torch.testing.assert_close(prior_logits.double(), priors, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_reset_forgets_everything_before_it(rssm, noise):
    """From the record marked first, a window reads as one that starts there, whatever came before."""
    embed, action, first = (x[:2, :6] for x in records())
    first[:] = False
    first[:, 4] = True
    torch.manual_seed(3)
    post, prior_logits = rssm.observe(embed, action, first, states(2))
    embed[:, :4], action[:, :5] = torch.randn(2, 4, EMBED), torch.randn(2, 5, ACTION)
    torch.manual_seed(3)
    other, other_prior = rssm.observe(embed, action, first, states(2, seed=9))
    assert not torch.allclose(post.deter[:, 3], other.deter[:, 3])
    for a, b in zip(post, other, strict=True):
        assert torch.equal(a[:, 4:], b[:, 4:])
    assert torch.equal(prior_logits[:, 4:], other_prior[:, 4:])


@torch.no_grad()
def test_observe_step_continues_observe(rssm, noise):
    embed, action, first = records()
    latent = rssm.initial(3)
    steps = []
    for t in range(8):
        noise.clear()
        latent = rssm.observe_step(latent, action[:, t], embed[:, t], first[:, t])
        assert [x.shape for x in latent] == [(3, DETER), (3, *GROUPS), (3, *GROUPS)]
        steps.append((latent, noise.categorical_steps(3, GROUPS[0])[0]))
    drawn = torch.stack([n for _, n in steps])
    deter, stoch, posts, _ = ref.observe(ref.weights(rssm), embed, action, first, drawn, GROUPS, DETER)
    for t, (latent, _) in enumerate(steps):
        same(latent, deter[:, t], stoch[:, t], posts[:, t])


@torch.no_grad()
def test_initial_is_zero(rssm):
    for x, shape in zip(rssm.initial(4), [(4, DETER), (4, *GROUPS), (4, *GROUPS)], strict=True):
        assert x.shape == shape and (x == 0).all()
    assert rssm.feat_dim == 12 + DETER == rssm.initial(4).feat.shape[-1]


@torch.no_grad()
def test_imagine_step(rssm, noise):
    start, action = states(6), torch.randn(6, ACTION)
    latent = rssm.imagine_step(start, action)
    weight = ref.weights(rssm)
    deter = ref.rssm_deter(weight, start.stoch.double(), start.deter.double(), action.double())
    logits = ref.rssm_prior(weight, deter, GROUPS)
    same(latent, deter, ref.one_hot(ref.softmax(logits), noise.categorical_steps(6, GROUPS[0])[0]), logits)


@torch.no_grad()
def test_imagine_chains_steps(rssm, noise):
    start, actions = states(2), torch.randn(2, 5, ACTION)
    future = rssm.imagine(start, actions)
    drawn, weight = noise.categorical_steps(2, GROUPS[0]), ref.weights(rssm)
    deter, stoch = start.deter.double(), start.stoch.double()
    for t in range(5):
        deter = ref.rssm_deter(weight, stoch, deter, actions[:, t].double())
        logits = ref.rssm_prior(weight, deter, GROUPS)
        stoch = ref.one_hot(ref.softmax(logits), drawn[t])
        same(Latent(*(x[:, t] for x in future)), deter, stoch, logits)


def test_gradients_are_those_of_the_loop(rssm, noise):
    """Through the straight-through samples and the GRU, for every parameter, action and embedding."""
    embed, action, first = records()
    embed.requires_grad_()
    action.requires_grad_()
    post, prior_logits = rssm.observe(embed, action, first)
    steps = noise.categorical_steps(3, GROUPS[0])[:8]
    mix = [torch.randn_like(x) for x in (post.deter, post.stoch, post.logits, prior_logits)]
    sum((m * x).sum() for m, x in zip(mix, (post.deter, post.stoch, post.logits, prior_logits), strict=True)).backward()
    weight = ref.weights(rssm, grad=True)
    embed64, action64 = (x.detach().double().requires_grad_() for x in (embed, action))
    out = ref.observe(weight, embed64, action64, first, steps, GROUPS, DETER)
    sum((m.double() * x).sum() for m, x in zip(mix, out, strict=True)).backward()
    pairs = {name: (p.grad, weight[name].grad) for name, p in rssm.named_parameters()}
    pairs |= {"embed": (embed.grad, embed64.grad), "action": (action.grad, action64.grad)}
    for name, (got, want) in pairs.items():
        scale = want.abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(
            got.double(), want, rtol=1e-3, atol=1e-4 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )
    assert (action.grad[:, 0] == 0).all()  # the action of a first record is dropped
