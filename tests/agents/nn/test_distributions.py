import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal, kl_divergence

from agents.nn.distributions import (
    CLIP_MARGIN,
    POLICIES,
    ClippedNormal,
    TruncatedNormal,
    categorical_entropy,
    categorical_kl,
    sample_one_hot,
    unit_normal_log_prob,
)


def cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def density(x, mean, std):
    return math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def truncated_cdf(x, mean, std):
    low, high = cdf((-1 - mean) / std), cdf((1 - mean) / std)
    return (cdf((x - mean) / std) - low) / (high - low)


def doubles(*values):
    return [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in values]


# ---- unit Normal


@pytest.mark.parametrize("event_dims", [0, 1, 3])
def test_unit_normal_log_prob(event_dims):
    value, mean = torch.randn(2, 5, 3, 4, 4), torch.randn(2, 5, 3, 4, 4)
    want = Normal(mean.double(), 1.0).log_prob(value.double())
    want = want.flatten(-event_dims).sum(-1) if event_dims else want
    got = unit_normal_log_prob(value, mean, event_dims)
    assert got.shape == want.shape
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_floors_of_perfect_predictions():
    image = torch.rand(2, 3, 3, 64, 64) - 0.5
    assert -unit_normal_log_prob(image, image, 3).mean().item() == pytest.approx(11291.9, abs=0.05)
    reward = torch.randn(2, 3)
    assert -unit_normal_log_prob(reward, reward, 0).mean().item() == pytest.approx(0.919, abs=5e-4)


def test_unit_normal_is_computed_in_float32():
    value = torch.zeros(3, 64, 64, dtype=torch.bfloat16)
    assert unit_normal_log_prob(value, value, 3).dtype == torch.float32


# ---- categoricals


def test_one_hot_values_are_exact():
    logits = torch.randn(500, 8, 16, requires_grad=True)
    sample = sample_one_hot(logits * 5)
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    assert (sample.sum(-1) == 1).all()


def test_one_hot_gradient_is_that_of_the_probabilities():
    logits = torch.randn(6, 4, 5, requires_grad=True)
    weight = torch.randn(6, 4, 5)
    (sample_one_hot(logits) * weight).sum().backward()
    want = []
    # d sum_j w_j p_j / d l_i = p_i (w_i - sum_j p_j w_j)
    p, w = torch.softmax(logits.detach().double(), -1), weight.double()
    want = p * (w - (p * w).sum(-1, keepdim=True))
    torch.testing.assert_close(logits.grad.double(), want, rtol=1e-4, atol=1e-6)


def test_one_hot_frequencies():
    probs = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.01, 0.01, 0.08, 0.9]])
    count = 100_000
    found = sample_one_hot(probs.log().expand(count, 2, 4)).mean(0)
    error = (probs * (1 - probs) / count).sqrt()
    assert ((found - probs).abs() < 5 * error).all(), found


def test_one_hot_inverts_the_cumulative_distribution():
    logits, uniform = torch.randn(7, 3, 5), torch.rand(7, 3, 1)
    probs = torch.softmax(logits.double(), -1)
    index = [
        [next(k for k in range(5) if probs[i, j, : k + 1].sum() > uniform[i, j, 0]) for j in range(3)] for i in range(7)
    ]
    assert sample_one_hot(logits, uniform).argmax(-1).tolist() == index


def test_one_hot_draws_nothing_impossible_at_the_ends():
    logits = torch.tensor([[-200.0, 0.0, 0.0, -200.0]])
    largest = torch.nextafter(torch.ones(1, 1), torch.zeros(1, 1))
    assert sample_one_hot(logits, torch.zeros(1, 1)).argmax().item() == 1
    assert sample_one_hot(logits, largest).sum().item() == 1
    assert sample_one_hot(logits[:, :3], largest).argmax().item() == 2


@given(st.integers(0, 10_000))
def test_categorical_kl_and_entropy(seed):
    torch.manual_seed(seed)
    p, q = 3 * torch.randn(2, 3, 4, 6), 3 * torch.randn(2, 3, 4, 6)
    want = kl_divergence(Categorical(logits=p.double()), Categorical(logits=q.double())).sum(-1)
    got = categorical_kl(p.log_softmax(-1), q.log_softmax(-1))
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)
    want = Categorical(logits=p.double()).entropy().sum(-1)
    torch.testing.assert_close(categorical_entropy(p.log_softmax(-1)).double(), want, rtol=1e-4, atol=1e-5)


def test_uniform_entropy():
    flat = torch.zeros(32, 32).log_softmax(-1)
    assert categorical_entropy(flat).item() == pytest.approx(110.904, abs=1e-3)


# ---- clipped Normal


def test_clipped_samples_stay_in_the_box_and_36_percent_sit_on_it():
    policy = ClippedNormal(torch.zeros(200_000, 1), torch.full((200_000, 1), 1.1))
    sample = policy.rsample()
    assert sample.abs().max().item() <= 1 - CLIP_MARGIN + 1e-7
    share = (sample.abs() > 1 - 2e-6).double().mean().item()
    want = 2 * (1 - cdf(1 / 1.1))
    assert want == pytest.approx(0.363, abs=1e-3)
    assert share == pytest.approx(want, abs=5 * math.sqrt(want * (1 - want) / 200_000))


def test_clipped_sample_is_the_clamped_normal_with_its_gradient_everywhere(noise):
    mean = (torch.rand(50, 3) * 2 - 1).requires_grad_()
    std = (torch.rand(50, 3) * 2 + 0.1).requires_grad_()
    sample = ClippedNormal(mean, std).rsample()
    (eps,) = noise.normals()
    want = (mean.double() + std.double() * eps).clamp(-1 + 1e-6, 1 - 1e-6)
    torch.testing.assert_close(sample.double(), want, rtol=0, atol=1e-6)
    assert (want.abs() > 0.99999).any()
    weight = torch.randn(50, 3)
    (sample * weight).sum().backward()
    torch.testing.assert_close(mean.grad, weight)
    torch.testing.assert_close(std.grad.double(), weight.double() * eps, rtol=1e-5, atol=1e-6)


def test_clipped_density_is_that_of_the_plain_normal():
    mean, std = torch.rand(9, 4) * 2 - 1, torch.rand(9, 4) * 2 + 0.1
    action = torch.rand(9, 4) * 2 - 1
    normal = Normal(mean.double(), std.double())
    policy = ClippedNormal(mean, std)
    torch.testing.assert_close(
        policy.log_prob(action).double(), normal.log_prob(action.double()).sum(-1), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(policy.entropy().double(), normal.entropy().sum(-1), rtol=1e-5, atol=1e-5)


def test_published_name_of_the_clipped_normal():
    assert POLICIES["trunc_normal"] is POLICIES["clipped_normal"] is ClippedNormal
    assert POLICIES["truncated_normal"] is TruncatedNormal


# ---- truncated Normal

CASES = [(0.0, 1.1), (0.7, 0.3), (-0.999, 0.1), (0.95, 2.1), (0.0, 0.1)]


def grid(mean, std, count=20_001):
    x = torch.linspace(-1, 1, count, dtype=torch.float64)
    mass = cdf((1 - mean) / std) - cdf((-1 - mean) / std)
    p = torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi) * mass)
    return x, p


@pytest.mark.parametrize("mean, std", CASES)
def test_truncated_density_integrates_to_one(mean, std):
    x, p = grid(mean, std)
    m, s = doubles(mean, std)
    log_prob = TruncatedNormal(m, s).log_prob(x[:, None]).detach()
    assert torch.trapezoid(log_prob.exp(), x).item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(log_prob, p.log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mean, std", CASES)
def test_truncated_entropy_is_its_integral(mean, std):
    x, p = grid(mean, std)
    want = torch.trapezoid(torch.where(p > 0, -p * p.log(), 0.0), x).item()
    m, s = doubles(mean, std)
    assert TruncatedNormal(m, s).entropy().item() == pytest.approx(want, abs=1e-5)
    single = TruncatedNormal(torch.tensor([mean]), torch.tensor([std])).entropy().item()
    assert single == pytest.approx(want, abs=2e-4)


def test_truncated_log_prob_and_entropy_add_up_over_actions():
    mean, std, action = torch.tensor([[0.0, 0.7]]), torch.tensor([[1.1, 0.3]]), torch.tensor([[0.2, -0.1]])
    whole = TruncatedNormal(mean, std)
    parts = [TruncatedNormal(mean[:, i : i + 1], std[:, i : i + 1]) for i in range(2)]
    assert whole.entropy().shape == (1,)
    torch.testing.assert_close(whole.entropy(), sum(p.entropy() for p in parts))
    torch.testing.assert_close(
        whole.log_prob(action), sum(p.log_prob(action[:, i : i + 1]) for i, p in enumerate(parts))
    )


@pytest.mark.parametrize("mean, std", CASES)
def test_truncated_sample_moments(mean, std):
    count = 200_000
    x, p = grid(mean, std)
    first = torch.trapezoid(p * x, x).item()
    variance = torch.trapezoid(p * (x - first) ** 2, x).item()
    fourth = torch.trapezoid(p * (x - first) ** 4, x).item()
    sample = TruncatedNormal(torch.full((count, 1), mean), torch.full((count, 1), std)).rsample().double()
    assert sample.abs().max().item() <= 1
    assert sample.mean().item() == pytest.approx(first, abs=5 * math.sqrt(variance / count))
    assert sample.var().item() == pytest.approx(variance, abs=5 * math.sqrt((fourth - variance**2) / count))


@pytest.mark.parametrize("mean, std", CASES)
def test_truncated_gradient_is_the_implicit_one(mean, std):
    """With F(x; m, s) held fixed, x moves as finite differences of an independent inverse say."""

    def inverse(u, m, s):
        low, high = -1.0, 1.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if truncated_cdf(middle, m, s) < u else (low, middle)
        return (low + high) / 2

    for seed in range(5):
        torch.manual_seed(seed)
        m, s = doubles(mean, std)
        x = TruncatedNormal(m, s).rsample()
        x.backward(torch.ones_like(x))
        u, h = truncated_cdf(x.item(), mean, std), 1e-5
        by_mean = (inverse(u, mean + h, std) - inverse(u, mean - h, std)) / (2 * h)
        by_std = (inverse(u, mean, std + h) - inverse(u, mean, std - h)) / (2 * h)
        assert m.grad.item() == pytest.approx(by_mean, abs=2e-4)
        assert s.grad.item() == pytest.approx(by_std, abs=5e-4)


@pytest.mark.parametrize("dist", [ClippedNormal, TruncatedNormal])
@pytest.mark.parametrize("mean", [-1.0, -0.9999999, 0.0, 1.0])
@pytest.mark.parametrize("std", [0.1, 2.1])
def test_policies_stay_finite_at_the_corners_of_their_parameters(dist, mean, std):
    m = torch.full((20_000, 1), mean, requires_grad=True)
    s = torch.full((20_000, 1), std, requires_grad=True)
    policy = dist(m, s)
    action = policy.rsample()
    total = action.sum() + policy.log_prob(action).sum() + policy.entropy().sum()
    total.backward()
    assert action.abs().max() <= 1
    assert total.isfinite() and m.grad.isfinite().all() and s.grad.isfinite().all()
