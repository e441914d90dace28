"""A second drive and a pilot of its own, as a method with two behaviours would add them: from outside the agent."""

from typing import ClassVar

import torch
from torch import nn

from agents.dreamer.actor_critic import Actor, Critic
from agents.dreamer.behavior import Behavior, Decision, Rolled, Term, imagine
from agents.dreamer.drive import MAIN, Drive
from agents.dreamer.pilot import Pilot
from agents.dreamer.setup import Setup, main_drive, task_behavior
from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, TaskReward, everywhere
from agents.latch import Latch
from agents.nn.distributions import sample_one_hot
from agents.nn.networks import MLP
from agents.skills import NoSkills, OneHot, SkillSchedule

CODES = 3
OPT = {"lr": 1e-3}


class Codes(IntrinsicReward):
    """Come near the place of your code: -||h - place_z||, places learned as the means of what was seen."""

    scores: ClassVar = "imagination"
    metric_name: ClassVar[str] = "code"
    reads_view: ClassVar[bool] = True

    def __init__(self, sizes):
        super().__init__(sizes)
        self.skills = OneHot(CODES)
        self.places = nn.Parameter(torch.randn(CODES, sizes.deter))
        self.seen = []  # (count, sum of the features) of every after_update

    def loss(self, view):
        distance = torch.cdist(view.post.deter.flatten(0, 1), self.places).amin(-1)
        return distance.mean(), {"code_worst": distance.detach().amax()}

    def score_imagined(self, traj):
        return everywhere(-(traj.skill @ self.places - traj.deter).norm(dim=-1))

    def after_update(self, count, view):
        self.seen.append((count, view.feat.sum().item()))


class ShowsCodes(Pilot):
    """The main drive acts and its skills are recorded; what can be looked at are the codes of the second drive."""

    def __init__(self, drive, second):
        super().__init__(drive)
        self.second = second

    @property
    def shown(self):
        return self.second.skills.space

    def behavior(self, mode):
        return (self.second if mode == "show" else self.drive).behavior


def two_drives(settings, sizes, phase, device):
    """The agent's own method, and beside it the codes."""
    (main,), _ = main_drive(settings, sizes, phase, device)
    method = Codes(sizes).to(device)
    second = Drive(
        "skill",
        method,
        lambda feat_dim: task_behavior(settings, feat_dim, sizes.action, CODES, "scalar", device),
        scores="imagination",
        method_opt=OPT,
    ).to(device)
    return Setup([main, second], ShowsCodes(main, second))


# ---- a controller that picks a code at every step


class Selector(nn.Module):
    """feat (..., F) -> logits over the codes."""

    def __init__(self, feat_dim):
        super().__init__()
        self.net = MLP(feat_dim, CODES, 1, 8)

    def forward(self, feat):
        return Picks(self.net(feat).float())


class Picks:
    """One-hot draws from logits (..., n)."""

    def __init__(self, logits):
        self.logits = logits

    def sample(self):
        return sample_one_hot(self.logits[..., None, :])[..., 0, :]

    def until(self, time):
        return Picks(self.logits[:time])

    def log_prob(self, one_hot):
        return (self.logits.log_softmax(-1) * one_hot).sum(-1)

    def entropy(self):
        log_probs = self.logits.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)


def by_codes(networks, rssm, start, skill, horizon):
    """A code from the selector at every step, an action from the executor under it."""
    selector, executor = networks["selector"], networks["executor"]
    latent, trajs, policies, codes = start, [], [], []
    for _ in range(horizon):
        code = selector(latent.feat.detach()).sample().detach()
        traj, policy = imagine(rssm, executor, latent, code, 1)
        place = rssm.stoch * rssm.discrete
        stoch, deter = traj.feat[1, :, :place].unflatten(-1, (rssm.stoch, rssm.discrete)), traj.deter[1]
        latent = start._replace(deter=deter, stoch=stoch)
        trajs.append(traj), policies.append(policy), codes.append(code)
    feat = torch.cat([trajs[0].feat[:1], *(traj.feat[1:] for traj in trajs)])
    deter = torch.cat([trajs[0].deter[:1], *(traj.deter[1:] for traj in trajs)])
    action = torch.cat([trajs[0].action[:1], *(traj.action[1:] for traj in trajs)])
    traj = Imagined(feat, deter, action, torch.stack([*codes, codes[-1]]))
    picks = Picks(selector(feat[:-1].detach()).logits)
    policy = executor.policy(*(torch.cat([getattr(p, part) for p in policies]) for part in ("mean", "std")))
    return Rolled(traj, {"selector": Decision(picks, traj.skill[:-1]), "executor": Decision(policy, action[1:])})


class MetaDrive(Drive):
    """Waits for the first reward; its executor begins as the actor that the codes trained."""

    def __init__(self, *given, **settings):
        super().__init__(*given, **settings)
        self.found = Latch()

    def adapt(self, frame, memory):
        if self.found.on or memory.sample()["reward"].max() <= 1:
            return None
        self.found.trip()
        return f"a reward was found by frame {frame}"

    def behaves(self, undecided):
        return self.found.on

    def parts(self):
        return super().parts() | {"found": self.found}

    def initial(self, *, init_actor, init_critic):
        return {"skill_actor": self.behavior.terms["executor"].network} if init_actor else {}


class Picking(Pilot):
    """Random codes until a reward was found, then those that the selector picks; none of them is recorded."""

    def __init__(self, drive, device):
        super().__init__(drive)
        self.codes = SkillSchedule(OneHot(CODES), period=5).to(device)

    @property
    def skills(self):
        return self.codes

    @property
    def recorded(self):
        return NoSkills()

    def select(self, latent, skill, mode):
        if not self.drive.found.on:
            return skill
        picks = self.drive.behavior.terms["selector"].network(latent.feat)
        return picks.sample() if mode == "train" else torch.eye(CODES)[picks.logits.argmax(-1)]

    def policy(self, latent, skill, mode):
        return self.drive.behavior.terms["executor"].network(latent.feat, skill)


def meta_drive(settings, sizes, phase, device):
    """A selector over the codes, learning by REINFORCE, and the actor that executes them, learning by dynamics."""

    def behavior(feat_dim):
        terms = {
            "selector": Term(Selector(feat_dim), OPT, entropy=0.1, grad="reinforce"),
            "executor": Term(Actor(feat_dim + CODES, sizes.action, **settings.actor.plain()), OPT),
        }
        critics = (Critic(feat_dim, 0, layers=1, units=8) for _ in range(2))
        return Behavior(terms, *critics, rollout=by_codes, critic_opt=OPT, reward_norm={}, imag_horizon=4)

    drive = MetaDrive(MAIN, TaskReward(sizes), behavior, scores="none").to(device)
    return Setup([drive], Picking(drive, device))


def two_scorers(settings, sizes, phase, device):
    """Refused: two drives that want to teach the one reward head."""
    setup = two_drives(settings, sizes, phase, device)
    setup.drives[1].scores = "replay"
    return setup


def named_otherwise(settings, sizes, phase, device):
    """Refused: no drive is the main one."""
    setup = two_drives(settings, sizes, phase, device)
    return Setup(setup.drives[1:], setup.pilot)
