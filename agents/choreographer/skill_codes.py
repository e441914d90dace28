"""The codes of Choreographer, learned from replayed states and paid for in imagined ones (Mazzaglia et al. 2023)."""

import torch
from torch import Tensor

from agents.choreographer.codebook import Codebook
from agents.choreographer.settings import ChoreographerSection
from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    Scored,
    Sizes,
    TaskReward,
    everywhere,
)
from agents.exploration.particle_entropy import ParticleEntropy, scaled
from agents.nn.networks import MLP
from agents.skills import OneHot


class SkillCodes(IntrinsicReward):
    """A VQ-VAE of the deterministic state h (van den Oord et al. 2017), and the reward for reaching its codes.

    Loss: mean (D(q) - h)^2 + ``commitment`` * mean (e - sg(q))^2, with e = encoder(h), q the nearest code; the gradient
    of D reaches the encoder as if q were e. The codes themselves follow running means (:class:`Codebook`), and every
    ``resample_every`` updates those that nobody was near to are replaced, if ``resampling``.

    Reward: r_t = -|D(E_c) - h_t| + mean_k max(d_k(h_t) - clip, 0), the distance to the state that code c stands for,
    and that to the nearest of all states imagined beside h_t (``entropy``). Only the first has a gradient.
    """

    scores = "imagination"
    metric_name = "skill"
    reads_view = True

    def __init__(
        self,
        sizes: Sizes,
        codebook: Codebook,
        entropy: ParticleEntropy,
        *,
        layers: int,
        units: int,
        commitment: float,
        resampling: bool,
        resample_every: int,
    ) -> None:
        super().__init__(sizes)
        self.skills = OneHot(codebook.count)
        self.codebook, self.entropy = codebook, entropy
        dim = codebook.codes.shape[1]
        self.encoder = MLP(sizes.deter, dim, layers, units, norm=True)
        self.decoder = MLP(dim, sizes.deter, layers, units, norm=True)
        self.commitment, self.resampling, self.resample_every = commitment, resampling, resample_every

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        deter = view.post.deter.flatten(0, 1)
        encoded = self.encoder(deter)
        index = self.codebook.nearest(encoded.detach())
        code = self.codebook.codes[index]
        rebuilt = self.decoder(encoded + (code - encoded).detach())
        rec_loss, commit_loss = (rebuilt - deter).square().mean(), (encoded - code).square().mean()
        share = self.codebook.absorb(encoded.detach(), index)
        metrics = {
            "rec_loss": rec_loss.detach(),
            "commit_loss": commit_loss.detach(),
            "unused_codes": self.codebook.unused.clone(),
            "resampled_codes": self.codebook.replaced.clone(),
            "code_usage_ent": -torch.xlogy(share, share).sum(),
        }
        return rec_loss + self.commitment * commit_loss, metrics

    @torch.no_grad()
    def after_update(self, count: int, view: ReplayView | None) -> None:
        """Every ``resample_every`` updates, of the last batch as the encoder sees it after its step."""
        if (count + 1) % self.resample_every == 0:
            assert view is not None
            self.codebook.recount(self.encoder(view.post.deter.flatten(0, 1)) if self.resampling else None)

    def score_imagined(self, traj: Imagined) -> Scored:
        goals = self.goals()  # of the few codes there are, not of every imagined state
        reached = -torch.linalg.vector_norm(goals[traj.skill.argmax(-1)] - traj.deter, dim=-1)
        apart = self.entropy(traj.deter.flatten(0, 1)).unflatten(0, reached.shape)
        return everywhere(reached + apart, {"code_reward": reached.detach().mean(), "entropy_reward": apart.mean()})

    @torch.no_grad()
    def goals(self) -> Tensor:
        """The states that the codes stand for, D(E), (N, deter)."""
        return self.decoder(self.codebook.codes)

    @torch.no_grad()
    def code_of(self, deter: Tensor) -> Tensor:
        """The code nearest to a state (deter,), one-hot (N,)."""
        index = self.codebook.nearest(self.encoder(deter[None]))[0]
        return self.skills.candidates(deter.device)[index]

    @torch.no_grad()
    def coded(self, deter: Tensor) -> Tensor:
        """What states (..., deter) are rebuilt as from their nearest codes."""
        index = self.codebook.nearest(self.encoder(deter).flatten(0, -2))
        return self.goals()[index].unflatten(0, deter.shape[:-1])

    def finetuned(self) -> "KnownCodes":
        return KnownCodes(self)


class KnownCodes(TaskReward):
    """The task's reward, and the codes as they were found: they are looked at and no longer learned."""

    def __init__(self, codes: SkillCodes) -> None:
        super().__init__(codes.sizes)
        self.skills = codes.skills
        self.codes = codes.requires_grad_(False)


def build_codes(sizes: Sizes, agent: ChoreographerSection) -> SkillCodes:
    """The codes that the section ``agent`` describes."""
    return SkillCodes(
        sizes,
        Codebook(agent.skill_dim, agent.code_dim, decay=agent.code_decay, published=agent.published_ema),
        ParticleEntropy(
            agent.knn_k,
            scale=scaled(agent.knn_rms),
            knn_avg=agent.knn_avg,
            knn_clip=agent.knn_clip,
            count_self=agent.knn_self,
            log=False,
        ),
        layers=agent.code_layers,
        units=agent.code_units,
        commitment=agent.commitment,
        resampling=agent.code_resampling,
        resample_every=agent.resample_every,
    )
