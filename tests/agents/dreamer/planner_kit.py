"""Tiny agents that plan, and what the planner is asked with, for the tests of the search and of the agent."""

import torch
from agent_kit import make_agent, tiny
from skill_kit import SD3, N
from torch.nn import functional as F

from agents.nn.latent import Latent

GROUPS, DETER, A, P, S, ENVS = (4, 4), 16, 2, 3, 6, 3
SEARCH = (
    "mpc=true", f"planner.horizon={P}", f"planner.num_samples={S}", "planner.num_elites=4", "planner.mixture_coef=0.34",
    "planner.iterations=2", "planner.temperature=2", "planner.momentum=0.3", "planner.min_std=0.5",
)  # fmt: skip


def build(*overrides, skills=False):
    """A tiny fine-tuning agent with a planner, weights large enough that sequences differ."""
    agent_of = (SD3, "domain=walker") if skills else ()
    agent = make_agent(tiny("finetune", *SEARCH, *agent_of, *overrides), "finetune", actions=A)
    behavior = agent.main.behavior
    with torch.no_grad():
        for module in (agent.world_model.rssm, agent.world_model.reward_head, behavior.slow_critic, behavior.actor):
            for p in module.parameters():
                p.mul_(3).add_(0.1 * torch.randn(p.shape))
    return agent


def states(agent, count=ENVS, seed=0):
    """States, skills, previous means and is_first of ``count`` environments; the first begins an episode."""
    generator = torch.Generator().manual_seed(seed)
    stoch = F.one_hot(torch.randint(4, (count, 4), generator=generator), 4).float()
    latent = Latent(torch.randn(count, DETER, generator=generator), stoch, torch.zeros(count, *GROUPS))
    skill = torch.eye(N)[torch.arange(count) % N] if agent.skill_dim else torch.zeros(count, 0)
    previous = torch.rand(count, P, A, generator=generator) * 2 - 1
    is_first = torch.arange(count) == 0
    return latent, skill, previous, is_first


def sequences(count, *, seed=1):
    return torch.rand(ENVS, count, P, A, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def search(agent, inputs, explore=True, seed=None):
    if seed is not None:
        torch.manual_seed(seed)
    return agent.planner.plan(agent.world_model, agent.main.behavior, *inputs, explore=explore)
