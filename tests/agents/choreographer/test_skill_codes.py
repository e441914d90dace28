"""The codes of states: their loss and its gradients, the rewards they give, when unused ones are replaced."""

import numpy as np
import pytest
import torch
from agent_kit import Remembered, copies, make_batch, moved
from choreo_kit import CODES, pretraining
from torch.nn import functional as F

from agents.choreographer.codebook import Codebook
from agents.choreographer.skill_codes import SkillCodes
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.exploration.particle_entropy import ParticleEntropy
from agents.nn.latent import Latent
from agents.nn.optimizer import Optimizer

DETER, DIM, H, STARTS = 7, 3, 4, 6
SIZES = Sizes(obs_shape=(24,), action=2, embed=8, feat=9, deter=DETER, domain="walker")


def made(
    codes=5, *, deter=DETER, dim=DIM, units=16, layers=2, k=4, published=False, every=200, resampling=True, **more
):
    return SkillCodes(
        SIZES._replace(deter=deter),
        Codebook(codes, dim, published=published),
        ParticleEntropy(k, knn_clip=1e-4, count_self=True, log=False),
        layers=layers,
        units=units,
        commitment=more.get("commitment", 1e-4),
        resampling=resampling,
        resample_every=every,
    )


def view(deter):
    """A replayed batch (B, T, ...) of which only the deterministic states are there."""
    none = torch.zeros(*deter.shape[:2], 0)
    return ReplayView(*[none] * 6, Latent(deter, none, none), none, none)


def perceptron(net, x):
    """Linear, LayerNorm, ELU, ... in float64, without the class that is tested."""
    *hidden, last = [m for m in net if not isinstance(m, torch.nn.ELU)]
    for layer in hidden:
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        if isinstance(layer, torch.nn.Linear):
            x = x @ weight.T + bias
        else:
            centred = x - x.mean(-1, keepdim=True)
            x = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * weight + bias
            x = torch.where(x > 0, x, x.exp() - 1)
    return x @ last.weight.detach().double().T + last.bias.detach().double()


def test_the_loss_is_what_the_equations_say_with_the_codes_before_the_step():
    method, deter = made(commitment=0.3), torch.rand(3, 5, DETER) * 2 - 1
    codes = method.codebook.codes.double()
    states = deter.double().flatten(0, 1)
    encoded = perceptron(method.encoder, states)
    code = codes[[int(((e - codes) ** 2).sum(-1).argmin()) for e in encoded]]
    rec = ((perceptron(method.decoder, code) - states) ** 2).mean().item()
    commit = ((encoded - code) ** 2).mean().item()
    loss, metrics = method.loss(view(deter))
    assert loss.item() == pytest.approx(rec + 0.3 * commit, rel=1e-5)
    assert metrics["rec_loss"].item() == pytest.approx(rec, rel=1e-5)
    assert metrics["commit_loss"].item() == pytest.approx(commit, rel=1e-5)
    assert not torch.equal(method.codebook.codes.double(), codes)  # the codes moved meanwhile
    share = method.codebook.used.numpy() / 15
    entropy = -sum(p * np.log(p) for p in share if p)
    assert metrics["code_usage_ent"].item() == pytest.approx(entropy, abs=1e-5)


def test_the_gradient_of_the_decoder_reaches_the_encoder_as_if_the_code_were_its_output():
    method, deter = made(commitment=0.0), torch.rand(2, 4, DETER)
    states = deter.flatten(0, 1)
    codes = method.codebook.codes.clone()
    index = method.codebook.nearest(method.encoder(states).detach())
    code = codes[index].requires_grad_()
    (slope,) = torch.autograd.grad(F.mse_loss(method.decoder(code), states), code)
    want = torch.autograd.grad(method.encoder(states), list(method.encoder.parameters()), slope)
    loss, _ = method.loss(view(deter))
    found = torch.autograd.grad(loss, list(method.encoder.parameters()))
    for got, expected in zip(found, want, strict=True):
        torch.testing.assert_close(got, expected)
    # and the commitment pulls the encoder alone
    method = made(commitment=1.0)
    with torch.no_grad():
        for p in method.decoder.parameters():
            p.zero_()
    loss, _ = method.loss(view(deter))
    loss.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in list(method.decoder.parameters())[:-1])
    assert any(p.grad.abs().sum() > 0 for p in method.encoder.parameters())


def rollout(method, time=H, count=STARTS):
    deter = (torch.rand(time + 1, count, method.sizes.deter) * 2 - 1).requires_grad_()
    code = torch.eye(method.skills.dim)[torch.randint(method.skills.dim, (count,))]
    return Imagined(torch.zeros(time + 1, count, 1), deter, torch.zeros(0), code.expand(time + 1, -1, -1))


def test_the_reward_is_the_distance_to_the_code_plus_that_to_the_neighbours():
    """The neighbours are among all states of all times and codes, the state itself at distance 0 included."""
    method, k = made(k=4), 4
    traj = rollout(method)
    found = method.score_imagined(traj)
    h, code = traj.deter.detach().double(), traj.skill.argmax(-1)
    goals = perceptron(method.decoder, method.codebook.codes.double())
    cloud = h.flatten(0, 1)
    want = torch.empty(H + 1, STARTS, dtype=torch.float64)
    parts = torch.zeros(2, dtype=torch.float64)
    for t in range(H + 1):
        for i in range(STARTS):
            distances = sorted(((x - h[t, i]) ** 2).sum().sqrt().item() for x in cloud)[:k]
            entropy = sum(max(d - 1e-4, 0) for d in distances) / k
            reached = -((goals[code[t, i]] - h[t, i]) ** 2).sum().sqrt()
            want[t, i] = reached + entropy
            parts += torch.stack([reached, torch.tensor(entropy, dtype=torch.float64)]) / h[..., 0].numel()
    torch.testing.assert_close(found.value.detach().double(), want, rtol=1e-5, atol=1e-5)
    assert found.valid.all()
    assert found.metrics["code_reward"].item() == pytest.approx(parts[0].item(), rel=1e-5)
    assert found.metrics["entropy_reward"].item() == pytest.approx(parts[1].item(), rel=1e-5)


def test_only_the_distance_to_the_code_has_a_gradient_and_only_in_the_state():
    method = made()
    traj = rollout(method)
    method.score_imagined(traj).value.sum().backward()
    away = (method.goals()[traj.skill.argmax(-1)] - traj.deter).detach()
    torch.testing.assert_close(traj.deter.grad, away / away.norm(dim=-1, keepdim=True))
    assert all(p.grad is None for p in method.parameters())
    traj = rollout(method)
    assert not method.entropy(traj.deter.flatten(0, 1)).requires_grad


def test_the_codes_are_decoded_once_and_not_for_every_state():
    method, seen = made(codes=5), []
    method.decoder.register_forward_hook(lambda net, given, out: seen.append(tuple(given[0].shape)))
    method.score_imagined(rollout(method, 9, 50))
    assert seen == [(5, DIM)]


def test_what_states_are_coded_as():
    method, deter = made(), torch.rand(2, 3, DETER)
    found = method.coded(deter)
    assert found.shape == deter.shape
    for state, coded in zip(deter.flatten(0, 1), found.flatten(0, 1), strict=True):
        nearest = (method.encoder(state[None]) - method.codebook.codes).norm(dim=-1).argmin()
        torch.testing.assert_close(coded, method.decoder(method.codebook.codes[nearest]))


# ---- when codes are replaced


def test_codes_are_replaced_every_so_many_updates_by_the_encoder_after_its_step():
    agent = pretraining("agent.resample_every=3")
    method, seen = agent.drives["skill"].method, []
    recount = method.codebook.recount
    method.codebook.recount = lambda rows: (seen.append((agent.updates + 1, rows)), recount(rows))
    views, after = [], method.after_update
    method.after_update = lambda count, given: (views.append(given), after(count, given))
    for seed in range(7):
        agent.update(make_batch(seed=seed))
        if seed in (2, 5):
            torch.testing.assert_close(seen[-1][1], method.encoder(views[-1].post.deter.flatten(0, 1)).detach())
    assert [count for count, _ in seen] == [3, 6]
    assert agent.update(make_batch()).metrics["unused_codes"] <= CODES


def test_without_replacing_codes_they_are_counted_all_the_same():
    agent = pretraining("agent.resample_every=2", "agent.code_resampling=false")
    book = agent.drives["skill"].method.codebook
    for seed in range(2):
        agent.update(make_batch(seed=seed))
    assert not book.used.any() and book.replaced == 0 and book.unused < CODES


# ---- a mixture of states


def mixture(generator):
    """Batches of 2,500 states of 20 clusters."""
    centres = torch.tanh(torch.randn(20, 16, generator=generator))
    while True:
        which = torch.randint(20, (2500,), generator=generator)
        yield (centres[which] + 0.5 * torch.randn(2500, 16, generator=generator))[None]


@pytest.mark.parametrize("published", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_mixture_of_twenty_clusters(published):
    """By the third look at what was used every code is, in the corrected form; published, a few are not."""
    torch.manual_seed(2)
    method = made(64, deter=16, dim=16, units=32, layers=1, published=published)
    optimizer, batches = Optimizer(method.parameters(), lr=8e-5), mixture(torch.Generator().manual_seed(102))
    losses = []
    for count in range(600):
        given = view(next(batches))
        loss, metrics = method.loss(given)
        losses.append(metrics["rec_loss"].item())
        optimizer.step(loss)
        method.after_update(count, given)
    assert losses[-1] < 0.6 * losses[0]
    assert method.codebook.unused == 0 if not published else 0 < method.codebook.unused <= 20


# ---- one update of the agent


def test_the_order_of_an_update():
    """Every part learns from what was seen before the world model steps, and the skill's policy is paid by the codes as
    they are after theirs.
    """
    agent, order = pretraining(), []
    skill = agent.drives["skill"]

    def watched(name, optimizer):
        step = optimizer.step
        optimizer.step = lambda loss: (order.append(name), step(loss))[1]

    for name, optimizer in agent._optimizers().items():
        watched(name, optimizer)
    goals, score = [], skill.method.score_imagined
    skill.method.score_imagined = lambda traj: (goals.append(skill.method.goals().clone()), score(traj))[1]
    agent.update(make_batch())
    assert order == ["method", "skill_method", "model", "actor", "critic", "skill_actor", "skill_critic"]
    torch.testing.assert_close(goals[0], skill.method.goals())


def test_the_parts_do_not_touch_each_other():
    """The codes shape neither world model nor explorer, and these not the codes."""
    agent = pretraining("kl.free=0")
    before = copies(agent)
    agent.update(make_batch())
    agent.update(make_batch())
    assert not set(before) - moved(agent, before)
    assert agent.adapt(0, Remembered(make_batch)) is None
    other = pretraining("kl.free=0", "agent.commitment=0.5", "agent.knn_k=3")
    with torch.no_grad():
        for p in other.drives["skill"].parameters():
            p.mul_(1.1)
    torch.manual_seed(5)
    agent = pretraining("kl.free=0")
    for one in (agent, other):
        torch.manual_seed(5)
        one.update(make_batch())
    for part in (agent.world_model, agent.main.behavior, agent.main.method):
        twin = {id(agent.world_model): other.world_model, id(agent.main.behavior): other.main.behavior}
        assert not moved(part, copies(twin.get(id(part), other.main.method)))
