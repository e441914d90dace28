"""States less their mean and over their deviation: where it counts, what is learned, what snapshots keep of it."""

import math

import pytest
import torch
from agent_kit import ACTIONS, composed, make_batch
from settings_kit import agent_settings

from agents.dreamer.agent import DreamerAgent
from agents.exploration.intrinsic_reward import everywhere
from agents.nn.observations import StateNorm
from utils.errors import UserError

STATE = 4
SCALES = torch.tensor([0.1, 1.0, 30.0, 0.0])
SMALL = ("preset=debug", "state_norm=running")


def agent_of(script="pretrain", *overrides, shape=(STATE,)):
    torch.manual_seed(0)
    kind = "configs=dmc_states" if len(shape) == 1 else "configs=dmc_pixels"
    config = composed(script, kind, "device=cpu", *SMALL, *overrides)
    return DreamerAgent(agent_settings(config), shape, ACTIONS, phase=script)


def batch_of(seed=0, batch=4, length=8, skill=0):
    records = make_batch(batch, length, seed=seed, skill=skill)
    noise = torch.randn(batch, length, STATE, generator=torch.Generator().manual_seed(seed))
    return records | {"observation": 5 + SCALES * noise}


def test_mean_and_deviation_by_hand():
    norm = StateNorm(2)
    raw = torch.tensor([[[1.0, 7.0]], [[3.0, 7.0]]])
    torch.testing.assert_close(norm(raw), raw, rtol=0, atol=0)  # nothing seen yet
    norm.update(raw)
    # of 1 and 3: mean 2, unbiased variance 2; what never changes is 0, whatever it is
    want = torch.tensor([[[-1 / math.sqrt(2), 0.0]], [[1 / math.sqrt(2), 0.0]]])
    torch.testing.assert_close(norm(raw), want, rtol=0, atol=1e-2)


def test_an_update_takes_its_batch_in_once_and_acting_takes_in_nothing():
    agent, batches = agent_of(), [batch_of(0), batch_of(1)]
    for batch in batches:
        agent.update(batch)
    seen = torch.cat([batch["observation"].flatten(0, 1) for batch in batches]).double()
    moments = agent.world_model.state_norm.moments
    torch.testing.assert_close(moments.mean.double(), seen.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moments.var.double()[:3], seen.var(0)[:3], rtol=2e-2, atol=1e-3)
    count = moments.count.clone()
    agent.act(seen[:1].float(), agent.start(1), torch.ones(1, dtype=torch.bool), "eval")
    agent.report(batches[0])
    assert torch.equal(moments.count, count) and count.item() == pytest.approx(64, abs=1e-3)


def test_encoder_and_loss_see_normalised_numbers():
    agent, batch = agent_of(), batch_of()
    agent.update(batch)
    model, raw = agent.world_model, batch["observation"]
    normed = model.state_norm(raw)
    assert normed[..., :3].std((0, 1)) == pytest.approx([1, 1, 1], abs=0.1)
    seen = model.observe(raw, batch["action"], batch["is_first"])
    torch.testing.assert_close(seen.embed, model.encoder(normed))
    torch.testing.assert_close(model.encode(raw), model.encoder(normed))
    _, found = model.loss(seen, everywhere(batch["reward"]))
    want = 0.5 * (normed - model.decoder(seen.feat)).square().sum(-1) + STATE * 0.9189385332046727
    assert found.losses["observation_loss"].item() == pytest.approx(want.mean().item(), rel=1e-5)


@pytest.mark.parametrize(("norm", "found"), [("none", False), ("running", True)])
def test_a_small_number_is_learned_beside_large_ones_only_if_normalised(norm, found):
    """A bit of 0.2 beside noise of 30, as the torso's height is beside velocities."""
    agent = agent_of("pretrain", f"state_norm={norm}", "model_opt.lr=3e-3", "agent=random_dreamer")
    generator = torch.Generator().manual_seed(0)

    def batch():
        records = make_batch(8, 8)
        bit = torch.randint(2, (8, 1), generator=generator).float().expand(8, 8)
        noise = 30 * torch.randn(8, 8, STATE - 1, generator=generator)
        return records | {"observation": torch.cat([0.2 * bit[..., None], noise], -1)}

    for _ in range(150):
        agent.update(batch())
    held_out, model = batch(), agent.world_model
    seen = model.observe(held_out["observation"], held_out["action"], held_out["is_first"])
    told, truth = model.decoder(seen.feat)[:, 1:, 0], seen.obs[:, 1:, 0]
    explained = 1 - (told - truth).square().mean() / truth.var()
    assert (explained > 0.5) == found


def test_snapshots_keep_it_and_fine_tuning_begins_with_it():
    agent = agent_of()
    agent.update(batch_of())
    modules = agent.snapshot_modules()
    assert set(modules["state_norm"]) == {"moments.mean", "moments.var", "moments.count"}
    tuned = agent_of("finetune")
    tuned.load_snapshot(modules, init_actor=True, init_critic=False)
    assert torch.equal(tuned.world_model.state_norm.moments.mean, agent.world_model.state_norm.moments.mean)
    assert "state_norm" not in agent_of("pretrain", "state_norm=none").snapshot_modules()


@pytest.mark.parametrize(("then", "now"), [("running", "none"), ("none", "running")])
def test_weights_of_normalised_states_do_not_meet_raw_ones(then, now):
    modules = agent_of("pretrain", f"state_norm={then}").snapshot_modules()
    want = f"state_norm={now}.*made with state_norm={then}"
    with pytest.raises(UserError, match=want):
        agent_of("finetune", f"state_norm={now}").load_snapshot(modules, init_actor=True, init_critic=False)
    with pytest.raises(UserError, match=want):
        agent_of("pretrain", f"state_norm={now}").load_weights(modules)


def test_images_are_what_they_were():
    agent = agent_of(shape=(3, 64, 64))
    assert agent.world_model.state_norm is None and "state_norm" not in agent.snapshot_modules()


@pytest.mark.parametrize(
    ("preset", "norm"), [("published", "none"), ("debug", "none"), ("small", "running"), ("quickstart", "running")]
)
def test_which_presets_ask_for_it(preset, norm):
    assert composed("pretrain", "configs=dmc_states", f"preset={preset}")["state_norm"] == norm
