"""DIAYN (Eysenbach et al. 2019) for independent policies: a classifier tells skills by the states they reach."""

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.nn.optimizer import Optimizer
from agents.nn.skill_classifier import SkillClassifier
from agents.rest.normalizer import Normalizer
from agents.rest.settings import DiscriminatorSettings


class Discriminator(nn.Module):
    """q(z | s), trained on the newest states of every skill in equal shares, whichever skill acted last.

    One skill acts at a time here, so its rollout alone would teach the classifier nothing but to name that skill. It
    therefore remembers ``memory`` states of the newest rollout of each. The state is read in full, as a density does
    (Jiang et al. 2022), normalised by all states of all skills.
    """

    def __init__(self, obs_dim: int, num_skills: int, settings: DiscriminatorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classifier = SkillClassifier(obs_dim, num_skills, settings.hidden, settings.depth)
        self.normalizer = Normalizer(obs_dim)
        self.states: Tensor
        self.kept: Tensor
        self.register_buffer("states", torch.zeros(num_skills, settings.memory, obs_dim))
        self.register_buffer("kept", torch.zeros(num_skills, dtype=torch.int64))

    @torch.no_grad()
    def reward(self, obs: Tensor, skill: int) -> Tensor:
        """log q(z | s) + log N for ``skill`` and raw observations (..., D) -> (...), in nats, at most log N."""
        return self.classifier.reward(self.normalizer(obs), self._one_hot(torch.full((), skill, device=obs.device)))

    def remember(self, skill: int, obs: Tensor) -> None:
        """Keep raw observations (R, D) as the newest of ``skill``: evenly spread ones where memory is short of rows."""
        kept = min(len(obs), self.settings.memory)
        self.normalizer.update(obs)
        self.states[skill, :kept] = obs[torch.arange(kept, device=obs.device) * len(obs) // kept]
        self.kept[skill].fill_(kept)

    def fit(self, optimizer: Optimizer) -> Updated:
        """``iters`` steps on the cross-entropy, each on ``batch_size`` states of skills that have acted."""
        acted = self.kept.nonzero()[:, 0]
        size, device = self.settings.batch_size, self.states.device
        for _ in range(self.settings.iters):
            skill = acted[torch.randint(len(acted), (size,), device=device)]
            place = (torch.rand(size, device=device) * self.kept[skill]).long()
            obs = self.normalizer(self.states[skill, place])
            weight = torch.ones(size, device=device)
            loss, metrics = self.classifier.loss(obs, self._one_hot(skill), weight)
            norm = optimizer.step(loss)
        return Updated({"diayn_loss": loss.detach(), "diayn_grad_norm": norm}, metrics)

    def _one_hot(self, skill: Tensor) -> Tensor:
        return nn.functional.one_hot(skill, self.classifier.skill_dim).float()
