"""Every Dreamer agent on states: sizes of the published program, losses by hand, one update, what it refuses."""

import pytest
import reference64 as ref
import torch
from agent_kit import ACTIONS, Novelty, composed, copies, make_batch, moved
from run_kit import AGENTS
from settings_kit import agent_settings

from agents.dreamer.agent import DreamerAgent
from agents.exploration.build import check_observations
from agents.exploration.intrinsic_reward import everywhere
from agents.nn.networks import parameter_count
from utils.errors import UserError

STATE = 24
PARTS = {"encoder": 494_400, "decoder": 984_024, "rssm": 1_020_048, "reward_head": 971_601}


def on_states(script, *overrides, seed=0):
    torch.manual_seed(seed)
    config = composed(script, "configs=dmc_states", "device=cpu", *overrides)
    return DreamerAgent(agent_settings(config), (STATE,), ACTIONS, phase=script)


def batch_of(batch=3, length=6, seed=0, skill=0):
    records = make_batch(batch, length, seed=seed, skill=skill)
    generator = torch.Generator().manual_seed(seed)
    return records | {"observation": 3 * torch.randn(batch, length, STATE, generator=generator)}


@pytest.fixture(scope="module")
def published():
    return on_states("pretrain", "agent=dreamer")


def test_parameter_counts_are_those_of_the_published_program(published):
    model, behavior = published.world_model, published.main.behavior
    assert {name: parameter_count(getattr(model, name)) for name in PARTS} == PARTS
    assert parameter_count(model) == sum(PARTS.values()) == 3_470_073
    assert parameter_count(behavior.actor) == 976_012 and parameter_count(behavior.critic) == 971_601


@pytest.mark.parametrize("name", AGENTS)
def test_one_update_at_the_published_sizes(name):
    agent = on_states("pretrain", f"agent={name}", "batch_size=2")
    before = copies(agent)
    updated = agent.update(batch_of(2, 10, skill=agent.recorded.dim))
    assert all(value.isfinite() for value in updated.logged.values())
    still = {n for n, p in agent.named_parameters() if not p.requires_grad}
    if name == "random_dreamer":
        still |= {n for n in before if "behavior." in n}
    still = {n for n in still if "slow_critic" not in n}  # a copy of the critic after the first update
    assert set(before) - moved(agent, before) == still


def test_the_loss_of_states_by_hand(published):
    model, batch = published.world_model, batch_of()
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    _, found = model.loss(seen, everywhere(batch["reward"]))
    mean = model.decoder(seen.feat).double()
    want = 0.5 * (batch["observation"].double() - mean).square().sum(-1) + STATE * 0.9189385332046727
    assert found.losses["observation_loss"].item() == pytest.approx(want.mean().item(), rel=1e-5)
    kl = ref.kl(seen.post.logits.double(), seen.prior_logits.double())
    torch.testing.assert_close(seen.kl.double(), kl, rtol=1e-3, atol=1e-4)


def test_there_are_no_pictures_to_report(published):
    batch = batch_of()
    assert published.report(batch) == {}
    with pytest.raises(UserError, match=r"\(24,\).*dmc_pixels"):
        published.world_model.open_loop(batch["observation"], batch["action"], batch["is_first"])


def test_images_are_refused_in_words(published):
    image, first = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.ones(1, dtype=torch.bool)
    with pytest.raises(UserError, match=r"states float32 \(24,\).*uint8 \(1, 3, 64, 64\)"):
        published.act(image, published.start(1), first, "eval")
    with pytest.raises(UserError, match="states float32"):
        published.embed(image)
    with pytest.raises(UserError, match="states float32"):
        published.update(make_batch(3, 6))


def test_it_acts_and_embeds(published):
    seen = torch.randn(2, STATE)
    action, acting = published.act(seen, published.start(2), torch.ones(2, dtype=torch.bool), "eval")
    assert action.shape == (2, ACTIONS) and acting.memory.deter.shape == (2, 200)
    embedded = published.embed(seen)
    torch.testing.assert_close(embedded, published.world_model.encoder(seen[-1:])[0])
    assert embedded.shape == (400,)


class OfImages(Novelty):
    needs_images = True


def test_a_method_that_needs_images_is_refused_with_states():
    check_observations(OfImages, images=True)
    check_observations(Novelty, images=False)
    with pytest.raises(UserError, match=r"test_agents_on_states\.OfImages needs images.*configs=dmc_pixels"):
        check_observations(OfImages, images=False)
    config = composed("pretrain", "configs=dmc_states", "preset=debug", "device=cpu")
    config["agent"] |= {"method": f"{__name__}.OfImages", "novelty_units": 3}
    with pytest.raises(UserError, match="OfImages needs images"):
        DreamerAgent(agent_settings(config), (STATE,), ACTIONS, phase="pretrain")


@pytest.mark.parametrize(
    ("kind", "repeat", "records"), [("dmc_states", 1, 2_000_000), ("dmc_states_ar2", 2, 1_000_000)]
)
def test_the_published_values(kind, repeat, records):
    config = composed("pretrain", f"configs={kind}")
    assert (config["obs_type"], config["action_repeat"], config["precision"]) == ("states", repeat, 32)
    assert config["replay"]["capacity"] == records
    assert config["snapshot_dir"] == "pretrained_models/states/walker/dreamer/1"
    assert all((config[part]["mlp_layers"], config[part]["mlp_units"]) == (4, 400) for part in ("encoder", "decoder"))


@pytest.mark.parametrize(
    ("agent", "key", "pixels", "states"),
    [
        ("deviation_dreamer", "beta", 0.1, 0.5),
        ("icm_dreamer", "icm_hidden", 1536, 400),
        ("plan2explore", "ensemble_hidden", 1536, 400),
    ],
)
def test_values_that_differ_by_the_kind_of_observation(agent, key, pixels, states):
    for kind, want in (("dmc_pixels", pixels), ("dmc_states", states), ("dmc_states_ar2", states)):
        assert composed("pretrain", f"agent={agent}", f"configs={kind}")["agent"][key] == want
