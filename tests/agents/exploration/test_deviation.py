"""The deviation reward (SD3, Xiao et al. 2025) and the method around it."""

import math

import pytest
import torch
from agent_kit import composed, method_of
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.exploration.deviation import Deviation, deviation_reward
from agents.exploration.intrinsic_reward import ReplayView, Sizes
from agents.nn.latent import Latent
from utils.errors import UserError

OBS = (3, 64, 64)
FLOOR = math.log(1e-44)


def exp_space(error, weight, z, floor=0.0):
    """log [lambda n d_z / ((lambda - 1) d_z + sum d)] with d = max(exp(-e), floor), in Python floats."""
    density = [max(math.exp(-e), floor) for e in error]
    return math.log(weight * len(error) * density[z] / ((weight - 1) * density[z] + sum(density)))


def plateau(weight, n):
    return math.log(weight * n / (weight + n - 1))


errors = st.lists(st.floats(0, 30, width=32), min_size=2, max_size=8)
weights = st.floats(0.3, 5)


# ---- the formula


@pytest.mark.parametrize("weight, want", [(1, 0.946105), (2, 1.142172)])
def test_the_numbers_of_the_card(weight, want):
    assert deviation_reward(torch.tensor([1.0, 2, 3, 4]), weight)[0].item() == pytest.approx(want, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(errors, weights)
def test_equals_the_formula_in_densities(error, weight):
    reward = deviation_reward(torch.tensor(error), weight)
    assert reward.shape == (len(error),)
    for z in range(len(error)):
        assert reward[z].item() == pytest.approx(exp_space(error, weight, z), abs=2e-5, rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 2e4, width=32), st.integers(2, 16), weights)
def test_equal_errors_give_the_constant(error, n, weight):
    reward = deviation_reward(torch.full((n,), error), weight)
    torch.testing.assert_close(reward, torch.full((n,), plateau(weight, n)), atol=1e-5, rtol=1e-5)


def test_the_plateau_of_the_default_settings():
    assert plateau(1.5, 16) == pytest.approx(0.375, abs=1e-3)
    assert deviation_reward(torch.full((16,), 1e4), 1.5, FLOOR)[3].item() == pytest.approx(0.375, abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=8), weights)
def test_at_most_log_n(error, weight):
    reward = deviation_reward(torch.tensor(error), weight)
    assert reward.isfinite().all() and (reward <= math.log(len(error)) + 1e-6).all()


def test_the_bound_is_reached_by_a_region_of_ones_own():
    error = torch.tensor([0.0, 1e4, 1e4, 1e4])
    assert deviation_reward(error, 1.5)[0].item() == pytest.approx(math.log(4), abs=1e-6)


def test_large_errors_neither_under_nor_overflow():
    error = torch.tensor([10_000.0, 10_001, 10_003, 12_000])
    reward = deviation_reward(error, 1.5)
    small = deviation_reward(error - 10_000, 1.5)
    assert reward.isfinite().all() and (reward.diff() < 0).all()
    torch.testing.assert_close(reward, small)  # only differences count
    assert reward[3].item() == pytest.approx(
        math.log(1.5) + math.log(4) - 2000 - math.log(1 + math.exp(-1) + math.exp(-3)), rel=1e-6
    )


@settings(deadline=None, max_examples=60)
@given(errors)
def test_weight_one_is_the_pointwise_mutual_information(error):
    """log p(z | s) / p(z) with p(z | s) = d_z / sum d and p(z) = 1 / n."""
    density = [math.exp(-e) for e in error]
    reward = deviation_reward(torch.tensor(error), 1.0)
    for z, d in enumerate(density):
        want = math.log(d / sum(density) * len(error))
        assert reward[z].item() == pytest.approx(want, abs=2e-5, rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(errors, st.floats(0.3, 4))
def test_a_larger_weight_gives_more(error, weight):
    more = deviation_reward(torch.tensor(error), weight + 1)
    assert (more >= deviation_reward(torch.tensor(error), weight) - 1e-5).all()


def test_leading_dimensions_and_precision():
    error = torch.rand(2, 3, 5, 4) * 10
    reward = deviation_reward(error, 1.7)
    assert reward.shape == error.shape and reward.dtype == torch.float32
    torch.testing.assert_close(reward[1, 2, 3], deviation_reward(error[1, 2, 3], 1.7))
    assert deviation_reward(error.bfloat16(), 1.7).dtype == torch.float32


# ---- floors


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 300, width=32), min_size=2, max_size=8), weights)
def test_floor_is_that_of_the_reference(error, weight):
    """Every density below 1e-44 counts as 1e-44, here without the rounding of subnormal float32 numbers."""
    reward = deviation_reward(torch.tensor(error), weight, FLOOR)
    for z in range(len(error)):
        assert reward[z].item() == pytest.approx(exp_space(error, weight, z, 1e-44), abs=1e-4, rel=1e-5)


def test_floor_with_some_skills_above_it():
    """One skill knows the image, the others lie at the floor however bad they are."""
    reward = deviation_reward(torch.tensor([95.0, 150, 900, 4000]), 1.5, FLOOR)
    raw = deviation_reward(torch.tensor([95.0, -FLOOR, -FLOOR, -FLOOR]), 1.5)
    torch.testing.assert_close(reward, raw)
    assert reward[1] == reward[2] == reward[3] and reward[0] > 1 and reward[1] > -7


def test_no_floor_keeps_every_difference():
    error = torch.tensor([150.0, 151, 152])
    with_floor, without = deviation_reward(error, 1.5, FLOOR), deviation_reward(error, 1.5, None)
    assert with_floor.unique().numel() == 1 and with_floor[0].item() == pytest.approx(plateau(1.5, 3), abs=1e-6)
    torch.testing.assert_close(without, deviation_reward(error - 150, 1.5))
    assert (without.diff() < 0).all()


def test_minimum():
    error = torch.tensor([0.0, 1, 50])
    free = deviation_reward(error, 1.5)
    assert free[2] < -40
    torch.testing.assert_close(deviation_reward(error, 1.5, minimum=-2.0), free.clamp(min=-2))
    assert deviation_reward(error, 1.5, None, None)[2] == free[2]


# ---- the method


def make_method(*overrides, domain="walker", **more):
    """The debug preset's method, without the lower bound that is shipped."""
    agent = composed("pretrain", "agent=deviation_dreamer", "preset=debug", *overrides)["agent"]
    agent |= {"deviation_floor": None} | more
    return method_of(agent, Sizes(OBS, 6, 32, 32, 16, domain))


def make_view(batch=2, length=3, n=4, seed=0, valid=None):
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    blank = torch.zeros(batch, length, 1)
    latent = Latent(blank, blank[..., None], blank[..., None])
    skill = torch.nn.functional.one_hot(torch.randint(n, (batch, length), generator=generator), n).float()
    return ReplayView(
        obs=torch.randint(0, 256, (batch, length, *OBS), generator=generator, dtype=torch.uint8),
        embed=blank, action=blank, skill=skill, skill_valid=~first if valid is None else valid,
        is_first=first, post=latent, feat=blank, kl=blank[..., 0],
    )  # fmt: skip


def planted(monkeypatch, method, error, divergence):
    """e and k of the density model replaced, so that the reward can be computed by hand."""
    monkeypatch.setattr(method.density, "all_skills", lambda obs: (error, divergence))


def test_the_reward_of_every_skill_by_hand(monkeypatch):
    method = make_method("agent.weight=2.5", "agent.explor_rate=0.3", "agent.log_density_floor=null")
    view, error, divergence = make_view(), torch.rand(2, 3, 4) * 20, torch.rand(2, 3, 4) * 9
    planted(monkeypatch, method, error, divergence)
    scored = method.score_replay(view)
    assert scored.value.shape == (2, 3, 4) and scored.valid.all()
    for b in range(2):
        for t in range(3):
            exploration = sum(divergence[b, t].tolist()) / 4
            for z in range(4):
                want = exp_space(error[b, t].tolist(), 2.5, z) + 0.3 * exploration
                assert scored.value[b, t, z].item() == pytest.approx(want, abs=1e-4)


def test_the_reward_comes_from_the_density_model():
    method = make_method("agent.log_density_floor=null")
    view = make_view()
    torch.manual_seed(5)
    error, divergence = method.density.all_skills(view.obs)
    torch.manual_seed(5)
    value = method.score_replay(view).value
    want = deviation_reward(error, 1.5) + 0.01 * divergence.mean(-1, keepdim=True)
    torch.testing.assert_close(value, want)
    assert not value.requires_grad
    assert method.density.training and error.std() > 0


def test_one_output_gets_the_reward_of_the_stored_skill():
    view = make_view()
    every, one = make_method(), make_method("agent.skill_conditioned_reward=false")
    one.load_state_dict(every.state_dict())
    torch.manual_seed(5)
    wide = every.score_replay(view)
    torch.manual_seed(5)
    narrow = one.score_replay(view)
    assert narrow.value.shape == narrow.valid.shape == (2, 3) and narrow.valid.all()
    for b in range(2):
        for t in range(3):
            assert narrow.value[b, t].item() == wide.value[b, t, int(view.skill[b, t].argmax())].item()
    assert wide.metrics.keys() == narrow.metrics.keys()
    for key, metric in wide.metrics.items():
        assert torch.equal(metric, narrow.metrics[key])


def test_floors_reach_the_reward(monkeypatch):
    error, divergence = torch.tensor([90.0, 150, 4000, 100]).expand(2, 3, 4), torch.zeros(2, 3, 4)
    rewards = []
    for more in ({}, {"log_density_floor": None}, {"log_density_floor": None, "deviation_floor": -3.0}):
        method = make_method(**more)
        planted(monkeypatch, method, error, divergence)
        rewards.append(method.score_replay(make_view()).value[0, 0])
    floored, free, bounded = rewards
    torch.testing.assert_close(floored, deviation_reward(error[0, 0], 1.5, -101.31))
    torch.testing.assert_close(free, deviation_reward(error[0, 0], 1.5))
    torch.testing.assert_close(bounded, free.clamp(min=-3))


def test_metrics(monkeypatch):
    """Over valid pairs only where they speak of the stored skill."""
    method = make_method("agent.explor_rate=0.3", "agent.weight=1.5")
    valid = torch.tensor([[True, True], [False, True]])
    view = make_view(2, 2, valid=valid)._replace(
        skill=torch.nn.functional.one_hot(torch.tensor([[0, 1], [2, 3]]), 4).float()
    )
    error = torch.tensor([[[1.0, 5, 5, 200], [5, 1, 5, 5]], [[5, 5, 1, 5], [1, 5, 5, 5]]])
    divergence = torch.arange(16.0).reshape(2, 2, 4)
    planted(monkeypatch, method, error, divergence)
    metrics = method.score_replay(view).metrics
    assert all(x.shape == () for x in metrics.values())
    assert metrics["density_acc"].item() == pytest.approx(2 / 3)  # right, right, not counted, wrong
    assert metrics["exploration"].item() == pytest.approx(7.5)
    assert metrics["density_floored"].item() == pytest.approx(1 / 16)
    own = [
        exp_space(error[b, t].tolist(), 1.5, z, 1e-44)
        for (b, t), z in zip([(0, 0), (0, 1), (1, 1)], (0, 1, 3), strict=True)
    ]
    assert metrics["deviation"].item() == pytest.approx(sum(own) / 3, abs=1e-4)


def test_no_floor_no_share_at_the_floor():
    method = make_method("agent.log_density_floor=null")
    assert set(method.score_replay(make_view()).metrics) == {"density_acc", "deviation", "exploration"}


def test_a_batch_without_valid_records_gives_numbers():
    method = make_method()
    view = make_view(valid=torch.zeros(2, 3, dtype=torch.bool))
    scored = method.score_replay(view)
    assert scored.value.isfinite().all() and all(x.isfinite() for x in scored.metrics.values())
    loss, metrics = method.loss(view)
    assert loss.item() == 0 and all(x.item() == 0 for x in metrics.values())


def test_the_loss_is_that_of_the_density_model():
    method = make_method("agent.beta=0.7")
    view = make_view()
    torch.manual_seed(3)
    loss, metrics = method.loss(view)
    torch.manual_seed(3)
    want, _ = method.density.loss(view.obs, view.skill, view.skill_valid, 0.7)
    assert torch.equal(loss, want) and loss.requires_grad
    assert loss.item() == pytest.approx((metrics["density_error"] + 0.7 * metrics["density_kl"]).item(), rel=1e-6)
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.density.parameters()}


# ---- configuration


@pytest.mark.parametrize("conditioned, outputs", [(True, 4), (False, 1)])
def test_reward_outputs(conditioned, outputs):
    method = make_method(skill_conditioned_reward=conditioned)
    assert method.reward_outputs == outputs and method.skills.dim == 4 and method.scores == "replay"


def test_the_shipped_values_are_those_of_the_card():
    agent = composed("pretrain", "agent=deviation_dreamer")["agent"]
    want = {
        "skill_dim": 16, "update_skill_every_step": 50, "weight": 1.5, "latent_dim": 2, "temperature": 1.0,
        "beta": 0.1, "num_modules": 4, "num_layers": 2, "module_hidden": 1024, "num_init_frames": 4000,
        "log_density_floor": -101.31, "deviation_floor": 0.0, "skill_conditioned_reward": True, "batch_norm": True,
    }  # fmt: skip
    assert {key: agent[key] for key in want} == want
    assert agent["explor_rate"] == {"walker": 0.01, "quadruped": 0.01, "jaco": 0.01}
    assert agent["log_density_floor"] == pytest.approx(FLOOR, abs=0.01)


@pytest.mark.parametrize("domain, rate", [("walker", 0.01), ("quadruped", 0.5)])
def test_alpha_by_domain(domain, rate):
    assert make_method("agent.explor_rate.quadruped=0.5", domain=domain).alpha == rate


@pytest.mark.parametrize("number", [0, 0.25])
def test_one_alpha_for_all_domains(number):
    assert make_method(f"agent.explor_rate={number}", domain="anywhere").alpha == number


def test_an_unknown_domain_is_named_with_its_fix():
    with pytest.raises(UserError, match=r"domain=hopper.*walker, quadruped, jaco.*\+agent\.explor_rate\.hopper=0\.01"):
        make_method(domain="hopper")
    with pytest.raises(UserError, match=r"agent\.explor_rate=0\.01"):
        make_method(domain="hopper")
    # the fixes work
    assert make_method("+agent.explor_rate.hopper=0.01", domain="hopper").alpha == 0.01
    assert make_method("agent.explor_rate=0.01", domain="hopper").alpha == 0.01


def test_the_keys_reach_the_density_model():
    method = make_method("agent.temperature=2", "agent.batch_norm=false", "agent.num_layers=3", "agent.num_modules=5")
    assert isinstance(method, Deviation)
    for body in (method.density.encoder, method.density.decoder):
        assert body.temperature == 2 and body.count == 5 and len(body.layers) == 3
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in method.modules())


def test_finetuning_keeps_the_skills_only():
    rest = make_method().finetuned()
    assert rest.skills.dim == 4 and rest.scores == "none" and rest.reward_outputs == 1
    assert list(rest.parameters()) == []
