"""Acting with skills, and the choice of one in fine-tuning."""

import io
import re

import pytest
import torch
from agent_kit import OBS, Remembered, composed, copies, make_agent, moved, tiny
from skill_kit import SD3, N, Rotating, finetuning, pretraining, records

from agents.dreamer import pilot as pilot_module
from agents.dreamer.behavior import Behavior
from agents.dreamer.skill_choice import LIKELIHOODS
from agents.exploration.intrinsic_reward import CHOICES

CHOSEN_BY = {"reward": "likelihood_centred: fewer than 2 skills"}
"""What a choice falls back on where no episode is finished."""

# ---- acting


def walk(agent, acting, steps, mode="train", count=2):
    """Skills and ages over ``steps``."""
    skills, ages = [], []
    observation = torch.zeros(count, *OBS, dtype=torch.uint8)
    for step in range(steps):
        _, acting = agent.act(observation, acting, torch.full((count,), step == 0), mode)
        skills.append(acting.skill)
        ages.append(acting.age.clone())
    return torch.stack(skills), torch.stack(ages), acting


@pytest.mark.parametrize("mode", ["train", "random"])
@pytest.mark.parametrize("build", [pretraining, finetuning])
def test_a_skill_is_held_for_its_steps(monkeypatch, mode, build):
    agent = build("agent.update_skill_every_step=5", "agent.skill_draw=random")
    Rotating(monkeypatch, agent)
    acting = agent.start(2)
    first = acting.skill.clone()
    skills, ages, _ = walk(agent, acting, 15, mode)
    assert torch.equal(skills[0], first)
    for block in skills.split(5):
        assert (block == block[0]).all()
    for old, new in ((4, 5), (9, 10)):
        assert (skills[old] != skills[new]).any(-1).all()
    assert ages[:, 0].tolist() == [1, 2, 3, 4, 5] * 3


def test_the_default_number_of_steps():
    agent = pretraining()
    assert agent.skills.period == 50 == composed("pretrain", SD3)["agent"]["update_skill_every_step"]


def test_evaluation_never_redraws(monkeypatch):
    agent = pretraining("agent.update_skill_every_step=3")
    rotating = Rotating(monkeypatch, agent)
    acting = agent.start(2)
    skills, ages, _ = walk(agent, acting, 12, "eval")
    assert (skills == acting.skill).all() and rotating.draws == 1 and (ages == 0).all()


def test_the_policy_sees_the_skill(spy):
    agent = pretraining()
    heads = spy(agent.main.behavior.actor, "forward")
    acting = agent.start(2)
    agent.act(torch.zeros(2, *OBS, dtype=torch.uint8), acting, torch.ones(2, dtype=torch.bool), "eval")
    (_, skill), _ = heads.one
    assert torch.equal(skill, acting.skill)


def test_begin_redraws_only_where_asked(monkeypatch):
    agent = pretraining("agent.update_skill_every_step=5")
    Rotating(monkeypatch, agent)
    _, _, acting = walk(agent, agent.start(3), 2, count=3)
    begins = torch.tensor([False, True, False])
    new = agent.begin(acting, begins)
    assert new.age.tolist() == [2, 0, 2] and acting.age.tolist() == [2, 2, 2]
    assert (new.skill != acting.skill).any(-1).tolist() == [False, True, False]
    assert torch.equal(new.action, acting.action)
    skills, _, _ = walk(agent, new, 6, count=3)
    changes = (skills[1:] != skills[:-1]).any(-1)
    # three steps are left where the episode went on, five where it began
    assert changes[:, 0].tolist() == changes[:, 2].tolist() == [False, False, True, False, False]
    assert changes[:, 1].tolist() == [False, False, False, False, True]


# ---- the choice


@pytest.fixture
def few(monkeypatch):
    """A choice from 40 records, in milliseconds."""
    monkeypatch.setattr(pilot_module, "CHOICE_RECORDS", 40)


class Batches:
    def __init__(self, **more):
        self.drawn, self.more = 0, more

    def __call__(self):
        self.drawn += 1
        return records(seed=self.drawn, **self.more)


def forbidden():
    raise AssertionError("no batch is needed")


def test_no_choice_before_its_time():
    agent = finetuning("agent.num_init_frames=1000")
    for frame in (0, 2, 998, 999):
        assert agent.adapt(frame, Remembered(forbidden)) is None
    assert not agent.skills.settled


def test_no_choice_in_pretraining_or_without_skills():
    assert pretraining().adapt(10**9, Remembered(forbidden)) is None
    assert make_agent(tiny("finetune"), "finetune").adapt(10**9, Remembered(forbidden)) is None


@pytest.mark.parametrize("choice", CHOICES)
def test_a_skill_is_chosen_once(few, choice):
    agent = finetuning("agent.num_init_frames=1000", f"agent.skill_choice={choice}")
    sample, before = Batches(), copies(agent)
    note = agent.adapt(1000, Remembered(sample))
    assert sample.drawn == 3  # 18 records each, 40 wanted
    found = re.fullmatch(rf"skill chosen at frame 1000: skill (\d) \({CHOSEN_BY.get(choice, choice)}.*\)", note)
    assert found and agent.skills.settled
    assert torch.equal(agent.skills.chosen, torch.eye(N)[int(found[1])])
    assert agent.adapt(1002, Remembered(forbidden)) is None
    assert moved(agent, before) == set() and all(p.grad is None for p in agent.parameters())


def test_how_many_records_a_choice_reads():
    sample = Batches(batch=16, length=64)
    finetuning().adapt(10**6, Remembered(sample))
    assert sample.drawn == 4 and pilot_module.CHOICE_RECORDS == 4096


@pytest.mark.parametrize("how", LIKELIHOODS)
def test_the_likelihood_choice_is_that_of_its_values(few, spy, how):
    agent = finetuning("clip_rewards=tanh", f"agent.skill_choice={how}")
    choices = spy(pilot_module, "likelihoods")
    sample = Batches()
    agent.adapt(4000, Remembered(sample))
    (asked, view, reward, actor, candidates), values = choices.one
    assert asked == how and actor is agent.main.behavior.actor
    assert torch.equal(candidates[values.argmax()], agent.skills.chosen)
    assert view.feat.shape[:2] == reward.shape == (9, 6)
    batches = [records(seed=i) for i in (1, 2, 3)]
    assert torch.equal(view.action, torch.cat([b["action"] for b in batches]))
    assert torch.equal(view.is_first, torch.cat([b["is_first"] for b in batches]))
    assert torch.equal(view.obs, torch.cat([b["observation"] for b in batches]))
    torch.testing.assert_close(reward, torch.tanh(torch.cat([b["reward"] for b in batches])))
    assert torch.equal(view.feat, view.post.feat)


@pytest.mark.parametrize("how", ["likelihood_paired", "likelihood_centred"])
@pytest.mark.parametrize("best", range(N))
def test_a_planted_skill_is_chosen_by_likelihood(few, monkeypatch, best, how):
    """Sequences with a return were acted by the policy of one skill, those without by others."""
    agent = finetuning(f"agent.skill_choice={how}")
    actor = agent.main.behavior.actor
    with torch.no_grad():
        actor.net[0].weight[:, -N:] += 3 * torch.randn(16, N)  # skills that act differently
        actor.net[-1].weight[: agent.action_dim].mul_(3)
        actor.net[-1].weight[agent.action_dim :] = 0
        actor.net[-1].bias[agent.action_dim :] = -12.0  # a narrow policy: std 0.1

    def sample():
        batch = records(6, 8)
        seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
        monkeypatch.setattr(agent.world_model, "observe", lambda *args: seen)  # the same draws of the latents
        for i in range(6):
            skill = torch.eye(N)[best if i < 3 else (best + 1 + i) % N].expand(8, N)
            batch["action"][i, 1:] = actor(seen.feat[i], skill).mean[:-1]
            batch["reward"][i] = 1.0 if i < 3 else 0.0
        return batch

    assert f": skill {best} (" in agent.adapt(4000, Remembered(sample))


@pytest.mark.parametrize("best", range(N))
def test_a_planted_skill_is_chosen_by_imagined_return(few, monkeypatch, best):
    agent = finetuning("agent.skill_choice=imagination")
    monkeypatch.setattr(agent.world_model, "reward", lambda feat, skill=None: 10 * skill[..., best])
    assert agent.adapt(4000, Remembered(Batches())).endswith(f"skill {best} (imagination)")


@pytest.mark.parametrize("best", range(N))
def test_imagination_prefers_the_policy_that_gets_the_reward(few, monkeypatch, best):
    """The reward is of states and does not know skills: what differs is where their policies lead."""
    agent = finetuning("agent.skill_choice=imagination", "actor.min_std=0.01", "rssm.deter=16")
    behavior, rssm = agent.main.behavior, agent.world_model.rssm
    signs = torch.tensor([1.0 if z == best else -1.0 for z in range(N)])
    with torch.no_grad():  # skill ``best`` acts with +tanh(4), the others with -tanh(4), exactly
        for p in behavior.actor.parameters():
            p.zero_()
        behavior.actor.net[0].weight[0, -N:] = signs
        behavior.actor.net[0].bias[0] = 1.0  # through the ELU: 2 or 0
        behavior.actor.net[-1].weight[: agent.action_dim, 0] = 4.0
        behavior.actor.net[-1].bias[: agent.action_dim] = -4.0
        behavior.actor.net[-1].bias[agent.action_dim :] = -12.0
        for p in behavior.slow_critic.parameters():
            p.zero_()
    step = rssm.imagine_step

    def marked(latent, action, *given):
        """The first entry of the state remembers the action."""
        new = step(latent, action, *given)
        deter = new.deter.clone()
        deter[:, 0] = action[:, 0]
        return new._replace(deter=deter)

    monkeypatch.setattr(rssm, "imagine_step", marked)
    place = rssm.stoch * rssm.discrete
    monkeypatch.setattr(agent.world_model, "reward", lambda feat, skill=None: feat[..., place])
    assert agent.adapt(4000, Remembered(Batches())).endswith(f"skill {best} (imagination)")


def settled(best=2, *overrides, seed=0):
    agent = finetuning("agent.update_skill_every_step=2", *overrides, seed=seed)
    agent.skills.settle(torch.eye(N)[best])
    return agent, torch.eye(N)[best]


@pytest.mark.parametrize("mode", ["train", "random", "eval"])
def test_the_chosen_skill_acts(mode):
    agent, chosen = settled()
    acting = agent.start(2)
    assert (acting.skill == chosen).all()
    skills, _, acting = walk(agent, acting, 6, mode)
    assert (skills == chosen).all()
    assert (agent.begin(acting, torch.tensor([True, False])).skill == chosen).all()


def test_the_chosen_skill_takes_over_within_an_episode():
    agent = finetuning()
    _, _, acting = walk(agent, agent.start(8), 3, count=8)
    assert acting.skill.unique(dim=0).shape[0] > 1
    agent.skills.settle(torch.eye(N)[1])
    skills, _, _ = walk(agent, acting, 2, count=8)
    assert (skills == torch.eye(N)[1]).all()


def test_finetuning_trains_on_random_skills_until_one_is_chosen(spy):
    agent = finetuning()
    updates = spy(Behavior, "update")
    before = copies(agent.main.behavior.actor)
    agent.update(records(4, 8))
    assert moved(agent.main.behavior.actor, before)  # from the first update on
    agent.skills.settle(torch.eye(N)[3])
    agent.update(records(4, 8))
    drawn, chosen = (args[3] for args, _ in updates.calls)
    assert drawn.shape == chosen.shape == (32, N)
    assert (drawn.sum(0) > 0).all() and (chosen == torch.eye(N)[3]).all()


@pytest.mark.parametrize("chosen", [False, True])
def test_the_choice_survives_a_resume(chosen):
    agent = settled(2)[0] if chosen else finetuning("agent.update_skill_every_step=2")
    agent.update(records())
    buffer = io.BytesIO()
    torch.save(agent.training_state(), buffer)
    buffer.seek(0)
    other = finetuning("agent.update_skill_every_step=2", seed=9)
    other.load_training_state(torch.load(buffer, weights_only=True))
    assert other.skills.settled is chosen and torch.equal(other.skills.chosen, agent.skills.chosen)
    results = []
    for each in (agent, other):
        torch.manual_seed(5)
        results.append(each.update(records(seed=1)).logged)
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    if chosen:
        assert other.adapt(10**9, Remembered(forbidden)) is None


def test_a_resumed_pretraining_goes_on_bit_for_bit():
    agent = pretraining()
    for i in range(2):
        agent.update(records(seed=i))
    buffer = io.BytesIO()
    torch.save(agent.training_state(), buffer)
    buffer.seek(0)
    other = pretraining(seed=9)
    other.load_training_state(torch.load(buffer, weights_only=True))
    for each in (agent, other):
        torch.manual_seed(5)
        each.update(records(seed=3))
    a, b = agent.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key], key


def test_a_pretrained_snapshot_is_finetuned():
    """The plain reward head is fresh, actor and critic come with their skills."""
    source = pretraining()
    source.update(records())
    buffer = io.BytesIO()
    torch.save(source.snapshot_modules(), buffer)
    buffer.seek(0)
    target = finetuning(seed=9)
    target.load_snapshot(torch.load(buffer, weights_only=True), init_actor=True, init_critic=True)
    assert not target.skills.settled
    for name in ("actor", "critic"):
        loaded, given = getattr(target.main.behavior, name), getattr(source.main.behavior, name)
        assert moved(loaded, copies(given)) == set()
    assert all(x.isfinite() for x in target.update(records()).logged.values())
