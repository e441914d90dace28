"""The table of all agents: where the reward comes from, what it may change, how it is used."""

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny

from agents.dreamer.behavior import imagine

# agent: (scored on, gradient of the reward to the actor, reward_norm momentum, actor_ent)
TABLE = {
    "dreamer": ("none", "head", 1.0, 1e-4),
    "random_dreamer": ("none", None, 1.0, 1e-4),
    "icm_dreamer": ("replay", "head", 0.95, 0.0),
    "rnd_dreamer": ("replay", "head", 1.0, 0.0),
    "lbs_dreamer": ("imagination", "feature", 0.95, 0.0),
    "plan2explore": ("imagination", "feature before", 0.95, 0.0),
    "apt_dreamer": ("imagination", "none", 0.95, 0.0),
    "diayn_dreamer": ("imagination", "feature", 0.95, 0.1),
    "aps_dreamer": ("imagination", "none", 1.0, 0.0),
    "deviation_dreamer": ("replay", "head", 0.95, 0.1),
    "choreo": ("imagination", "feature", 0.95, 0.0),
}
IMAGINED = [name for name, row in TABLE.items() if row[0] == "imagination"]


def built(name):
    agent = make_agent(tiny("pretrain", f"agent={name}"))
    return agent, make_batch(skill=agent.skill_dim)


@pytest.mark.parametrize("name", TABLE)
def test_settings(name):
    scores, _, momentum, entropy = TABLE[name]
    agent, _ = built(name)
    assert agent.main.scores == scores
    assert agent.main.behavior.reward_norm.momentum == momentum
    assert agent.main.behavior.terms["actor"].entropy == entropy


@pytest.mark.parametrize("name", TABLE)
def test_finetuning_is_the_same_for_all(name):
    agent = make_agent(tiny("finetune", f"agent={name}", "domain=walker"), "finetune")
    assert agent.main.scores == "none" and agent.main.method_opt is None and agent.main.trains
    assert agent.world_model.grad_heads == {"decoder", "reward"}
    assert agent.main.behavior.reward_norm.momentum == 1
    decides = next(iter(agent.main.behavior.terms.values()))  # the actor, or the controller over skills
    assert decides.entropy == 1e-4


@pytest.mark.parametrize("name", TABLE)
def test_no_method_shapes_the_world_model(name):
    agent, batch = built(name)
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    trained = agent.main.method.loss(agent._view(seen, batch))
    if trained is None:
        assert not list(agent.main.method.parameters())
        return
    trained[0].backward()
    assert all(p.grad is None for p in agent.world_model.parameters())
    for parameter, p in agent.main.method.named_parameters():
        assert p.grad is not None or not p.requires_grad, parameter


@pytest.mark.parametrize("name", IMAGINED)
def test_where_the_gradient_of_an_imagined_reward_goes(name):
    agent, batch = built(name)
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    start = seen.post.detach().flatten()
    skill = agent.skills.draw(len(start.deter))
    behavior = agent.main.behavior
    traj, _ = imagine(agent.world_model.rssm, behavior.actor, start, skill, 3)
    leaves = {"feat": traj.feat, "deter": traj.deter, "action": traj.action}
    traj = traj._replace(**{key: leaf.detach().requires_grad_() for key, leaf in leaves.items()})
    reward = agent.main.method.score_imagined(traj).value
    assert reward.shape == (4, len(start.deter))
    where = TABLE[name][1]
    if where == "none":
        assert not reward.requires_grad
        return
    touched = torch.autograd.grad(reward[2].sum(), traj.feat, retain_graph=True)[0].abs().sum((1, 2)) > 0
    assert touched.tolist() == [False, where == "feature before", where == "feature", False]
    to_action = torch.autograd.grad(reward[2].sum(), traj.action, allow_unused=True)[0]
    assert to_action is None or not to_action.any()


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[1] == "head"])
def test_a_predicted_reward_reaches_the_actor_through_the_head(name):
    agent, batch = built(name)
    feat = torch.randn(4, 5, agent.world_model.rssm.feat_dim, requires_grad=True)
    skill = agent.skills.draw(5).expand(4, -1, -1)
    agent.world_model.reward(feat, skill)[2].sum().backward()
    assert feat.grad is not None
    assert (feat.grad.abs().sum((1, 2)) > 0).tolist() == [False, False, True, False]
