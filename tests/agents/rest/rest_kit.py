"""Settings, small agents and rollouts for the tests of ReST."""

import torch

from agents.rest.agent import RestAgent
from agents.rest.rollout import Rollout
from agents.rest.settings import RestSettings
from utils.settings import parse

PUBLISHED = {
    "method": "rest", "num_skills": 10, "epochs": 50, "turn_iters": 20, "init": "code", "warmup_rollouts": 3,
    "same_start": True,
    "ppo": {
        "hid_sizes": [64, 64], "log_std_init": -0.5, "pi_lr": 3e-4, "vf_lr": 1e-3, "train_pi_iters": 20,
        "train_v_iters": 80, "batch_size": None, "clip_ratio": 0.2, "ent_coef": 0.01, "target_kl": None,
        "gamma": 0.99, "gaelam": 0.95,
    },
    "rnd": {
        "hid_sizes": [512, 512], "outputs": 5, "lr": 1e-2, "iters": 80, "batch_size": None, "alpha": 10.0,
        "obs": "raw", "position_scale": 1.0, "fit_on": "next", "shared_target": True,
    },
    "diayn": {"hidden": 256, "depth": 2, "lr": 1e-3, "iters": 80, "batch_size": 1024, "memory": 10000},
}  # fmt: skip

SMALL = {
    "num_skills": 3, "epochs": 2, "turn_iters": 2, "warmup_rollouts": 2,
    "ppo": {"hid_sizes": [8, 7], "train_pi_iters": 3, "train_v_iters": 4},
    "rnd": {"hid_sizes": [9, 6], "outputs": 4, "iters": 5},
    "diayn": {"hidden": 8, "iters": 4, "batch_size": 16, "memory": 30},
}  # fmt: skip

OBS, ACTIONS, ROWS, LENGTH = 5, 2, 3, 12


def changed(plain, *changes):
    """``plain`` with the keys of sections in ``changes`` on top."""
    plain = {key: dict(value) if isinstance(value, dict) else value for key, value in plain.items()}
    for change in changes:
        for key, value in change.items():
            plain[key] = plain[key] | value if isinstance(value, dict) else value
    return plain


def rest_settings(*changes, plain=PUBLISHED):
    return parse(RestSettings, changed(plain, *changes))


def make_rest(*changes, seed=0, obs_dim=OBS, exclude=1, **arguments):
    """A small agent; ``changes`` are of its settings."""
    torch.manual_seed(seed)
    return RestAgent(rest_settings(SMALL, *changes), obs_dim, ACTIONS, exclude=exclude, **arguments)


def make_rollout(agent, skill=None, seed=0, ends=True, n=ROWS, length=LENGTH, shift=0.0):
    """What ``agent`` does in states that are noise about ``shift``; with ``ends``, a few terminal and cut ones."""
    generator = torch.Generator().manual_seed(seed)
    rollout = Rollout.empty(n, length, agent.obs_dim, agent.action_dim, agent.device)
    states = torch.randn(n, length + 1, agent.obs_dim, generator=generator) + shift
    rollout.obs.copy_(states[:, :-1])
    rollout.next_obs.copy_(states[:, 1:])
    rollout.reward.copy_(torch.randn(n, length, generator=generator))
    if ends:
        rollout.terminated[0, 4] = rollout.terminated[1, 7] = True
        rollout.truncated[1, 2] = rollout.truncated[2, 5] = True
        over = rollout.terminated | rollout.truncated
        rollout.next_obs[over] += 0.5  # not the first observation of the next episode
    skill = agent.turn.skill if skill is None else skill
    action, log_prob = agent.act(rollout.obs.flatten(0, 1), skill, "train")
    rollout.action.copy_(action.reshape(n, length, -1))
    rollout.log_prob.copy_(log_prob.reshape(n, length))
    return rollout
