"""CIC: losses and rewards worked out by hand, what is a negative, a world whose skills can be told, the sweep."""

import math

import pytest
import torch
from agent_kit import composed, make_agent, make_batch, method_of, moved, tiny
from torch.nn import functional as F

from agents.exploration.cic import ContrastiveControl, contrastive, exact_loss, published_loss, same_rows
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.exploration.particle_entropy import ParticleEntropy
from agents.nn.latent import Latent
from agents.skill_values import rewards_by_skill
from agents.skills import Cube, SkillSchedule

SIZES = Sizes((3, 64, 64), 2, 1536, 12, 4, "walker")


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


QUERY = tensor((1, 0, 0), (0, 2, 0), (0, 0, 1), (1, 1, 0))
KEY = tensor((1, 0, 1), (0, 1, 0), (0, 1, 1), (-1, 0, 0))
PRODUCT = contrastive(QUERY, KEY, 0.5)
OTHERS = ~torch.eye(4, dtype=torch.bool)


def make_method(*overrides, seed=0):
    torch.manual_seed(seed)
    return method_of(composed("pretrain", "agent=cic_dreamer", "preset=debug", *overrides)["agent"], SIZES)


def close(got, *want):
    torch.testing.assert_close(got, tensor(*want), rtol=0, atol=1e-9)


def test_losses_by_hand():
    close(PRODUCT[0] / 2, 0.7071067811865476, 0, 0, -1)
    close(PRODUCT[3] / 2, 0.5, 0.7071067811865476, 0.5, -0.7071067811865476)
    rows = exact_loss(PRODUCT, OTHERS)
    close(rows, -0.6555898867, -0.1895413914, 0.3962450462, 3.6707352440)
    assert rows.mean().item() == pytest.approx(0.8054622530, abs=1e-9)
    alike = OTHERS.clone()
    alike[0, 2] = alike[2, 0] = False  # rows of one skill
    close(exact_loss(PRODUCT, alike), -1.2872855513, -0.1895413914, -0.7210663818, 3.6707352440)
    published = published_loss(PRODUCT, torch.ones(4, dtype=torch.bool), 0.5)
    assert published[0].item() == pytest.approx(-14.5365769, abs=1e-7)  # its denominator is clamped
    close(published[1:], -0.1895412278, -0.3713093309, 2.2912958602)
    assert published.mean().item() == pytest.approx(-3.2015329096, abs=1e-8)


def test_a_row_without_negatives_is_worth_nothing():
    product = PRODUCT.clone().requires_grad_()
    negative = OTHERS.clone()
    negative[1] = False
    rows = exact_loss(product, negative)
    assert rows[1].item() == 0
    rows.sum().backward()
    assert torch.isfinite(product.grad).all() and (product.grad[1] == 0).all()


def test_published_and_exact_agree_for_many():
    torch.manual_seed(0)
    product = contrastive(torch.randn(1024, 64).double(), torch.randn(1024, 64).double(), 0.5)
    exact = exact_loss(product, ~torch.eye(1024, dtype=torch.bool)).mean()
    assert abs(exact - published_loss(product, torch.ones(1024, dtype=torch.bool), 0.5).mean()) < 0.02


def test_same_rows(monkeypatch):
    monkeypatch.setattr("agents.exploration.cic.CHUNK_BYTES", 20)
    rows = torch.tensor([[0.0, 1, 2], [0, 1, 2], [0, 1, 3], [5, 1, 2]])
    assert same_rows(rows, rows).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


PARTICLES = tensor((0, 0), (3, 0), (3, 4), (0, 1)).float()


@pytest.mark.parametrize(
    ("scale", "want"),
    [
        ("variance", (0.3814358, 0.5397620, 0.6715632, 0.3942282)),
        ("mean", 0.6816605933),
        ("none", 1.0386542475),
    ],
)
def test_rewards_by_hand(scale, want):
    entropy = ParticleEntropy(3, scale=scale, knn_clip=5e-4, count_self=True)
    value = entropy(PARTICLES)
    if scale == "variance":
        torch.testing.assert_close(value, torch.tensor(want), rtol=0, atol=1e-5)
        assert entropy.moments.var.item() == pytest.approx(2.8691174138, rel=1e-5)
    else:
        assert value.mean().item() == pytest.approx(want, rel=1e-5)


def view_of(feat, skill, first=None, valid=None):
    blank = torch.zeros(*feat.shape[:2], 1)
    if first is None:
        first = torch.zeros(feat.shape[:2], dtype=torch.bool)
        first[:, 0] = True
    valid = torch.ones_like(first) if valid is None else valid
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(blank, blank, blank, skill, valid, first, latent, feat, blank[..., 0])


@pytest.mark.parametrize("exact", [True, False])
def test_pairs_that_do_not_count_change_nothing(exact):
    """Across the start of an episode, and those whose action did not come from a skill: as rows and as columns."""
    method = make_method(f"agent.exact_negatives={exact}")
    feat, skill = torch.randn(3, 5, 12), torch.rand(3, 5, 8)
    first = torch.zeros(3, 5, dtype=torch.bool)
    first[:, 0] = first[1, 3] = True
    valid = torch.ones_like(first)
    valid[2, 2] = False
    loss, metrics = method.loss(view_of(feat, skill, first, valid))
    other = skill.clone()
    other[1, 3], other[2, 2] = torch.rand(8), torch.rand(8)
    again, _ = method.loss(view_of(feat, other, first, valid))
    torch.testing.assert_close(loss, again)
    different, _ = method.loss(view_of(feat, other.roll(1, 2), first, valid))
    assert not torch.allclose(loss, different)
    assert 0 <= metrics["cic_acc"] <= 1 and -1 <= metrics["cic_cosine"] <= 1


def test_the_order_of_pairs_does_not_matter():
    torch.manual_seed(0)
    control = ContrastiveControl(5, 4, 16, 0.5, project=True)
    before, after, skill = torch.randn(20, 5), torch.randn(20, 5), torch.rand(20, 4)
    valid, order = torch.rand(20) > 0.2, torch.randperm(20)
    loss, _ = control.loss(before, after, skill, valid, exact=True)
    again, _ = control.loss(before[order], after[order], skill[order], valid[order], exact=True)
    torch.testing.assert_close(loss, again)


def rollout(horizon=3, count=6):
    torch.manual_seed(3)
    feat = torch.randn(horizon + 1, count, 12, requires_grad=True)
    return Imagined(feat, feat[..., :4], feat[..., :2], torch.rand(count, 8).expand(horizon + 1, count, 8))


@pytest.mark.parametrize("particles", ["state", "transition"])
def test_the_reward_is_the_entropy_of_the_particles(particles):
    method, traj = make_method(f"agent.cic_particles={particles}", "agent.knn_scale=none"), rollout()
    scored = method.score_imagined(traj)
    g = method.control.embed(traj.feat)
    wanted = g if particles == "state" else method.control.key(g[:-1], g[1:])
    want = ParticleEntropy(4, knn_clip=5e-4)(wanted.detach().flatten(0, 1)).unflatten(0, wanted.shape[:2])
    torch.testing.assert_close(scored.value[-len(want) :], want)
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[0] = particles == "state"
    assert torch.equal(scored.valid.expand(4, 6), valid) and not scored.value.requires_grad


def test_skills_that_can_be_told_are():
    """Transitions drift by the skill: pairs are matched to their skills; with shuffled ones nothing can be learned."""
    torch.manual_seed(0)
    weight, found = torch.randn(16, 10) / 4, {}
    for shuffled in (False, True):
        control = ContrastiveControl(10, 16, 128, 0.5, project=True)
        adam = torch.optim.Adam(control.parameters(), lr=1e-3)
        for _ in range(500):
            skill, state = torch.rand(256, 16), torch.randn(256, 10)
            after = state + 3 * (skill - 0.5) @ weight + 0.05 * torch.randn(256, 10)
            seen = skill[torch.randperm(256)] if shuffled else skill
            loss, metrics = control.loss(state, after, seen, torch.ones(256, dtype=torch.bool), exact=True)
            adam.zero_grad()
            loss.backward()
            adam.step()
        found[shuffled] = metrics["cic_acc"].item(), loss.item()
    assert found[False][0] >= 0.9 and found[False][1] < 4.3
    assert found[True][0] < 0.05 and found[True][1] == pytest.approx(math.log(255), abs=0.1)


def test_every_network_learns_and_nothing_of_it_is_restored():
    agent = make_agent(tiny("pretrain", "agent=cic_dreamer"))
    batch = make_batch()
    batch |= {"skill": torch.rand(3, 6, 8), "skill_valid": torch.ones(3, 6, dtype=torch.bool)}
    before = {name: p.detach().clone() for name, p in agent.main.method.named_parameters()}
    found = agent.update(batch)
    assert {"cic_loss", "cic_acc", "cic_cosine", "particle_distance"} <= found.logged.keys()
    assert moved(agent.main.method, before) == set(before)
    assert agent.main.method.finetune_state() == {}


# ---- the grid that fine-tuning tries


def test_points_of_the_diagonal_are_tried_in_turns():
    torch.manual_seed(0)
    schedule = SkillSchedule(Cube(3), 5, evenly=True)
    skill, age, seen = torch.zeros(1, 3), torch.full((1,), 5), []
    for _ in range(11):
        skill, _ = schedule.renew(skill, age)
        seen.append(round(skill[0, 0].item(), 2))
        assert skill[0].tolist() == skill[0, :1].repeat(3).tolist()
    assert sorted(seen) == [round(0.1 * i, 2) for i in range(11)]


def test_rewards_count_for_the_nearest_point():
    """A task that pays v."""
    candidates = Cube(4).candidates(torch.device("cpu"))
    v = torch.arange(11).repeat_interleave(4)
    episode = {
        "skill": candidates[v].numpy(),
        "skill_valid": torch.ones(44, dtype=torch.bool).numpy(),
        "reward": v.float().numpy() / 10,
    }
    tried = rewards_by_skill([episode], candidates)
    torch.testing.assert_close(tried.values, torch.linspace(0, 1, 11).double(), rtol=0, atol=1e-6)
    assert tried.steps.tolist() == [2] * 11


def test_a_chosen_zero_is_a_choice_and_stays_one():
    schedule = SkillSchedule(Cube(3), 5)
    schedule.settle(torch.zeros(3))
    other = SkillSchedule(Cube(3), 5)
    other.load_state_dict(schedule.state_dict())
    assert other.settled and (other.draw(4) == 0).all()
    other.load_state_dict(SkillSchedule(Cube(3), 5).state_dict())
    assert not other.settled


def test_the_published_choice_is_the_centre():
    agent = make_agent(tiny("finetune", "agent=cic_dreamer", "agent.reference=true", "snapshot_ts=0"), "finetune")
    assert agent.pilot.how == "centre"
    view = view_of(torch.zeros(1, 2, agent.world_model.rssm.feat_dim), torch.zeros(1, 2, 8))
    assert agent.main.method.choose_skill(view, torch.zeros(1, 2)).tolist() == [0.5] * 8


def test_cosines_are_of_unit_vectors():
    torch.testing.assert_close(contrastive(3 * QUERY, 0.1 * KEY, 0.5), PRODUCT)
    torch.testing.assert_close(PRODUCT, 2 * F.cosine_similarity(QUERY[:, None], KEY[None], dim=-1))
