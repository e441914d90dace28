"""APT: reach states far from those imagined beside them (Liu & Abbeel 2021, "Behavior From the Void")."""

from typing import Any

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, RunSizes, Scored, Sizes, everywhere
from agents.exploration.particle_entropy import ParticleEntropy, check_neighbours, scaled
from utils.rules import Count, Flag, Number


class APT(IntrinsicReward):
    """r_t = log(1 + mean_k max(d_k(h_t) - clip, 0)), d_k the distances of h_t to its k nearest neighbours.

    The particles are the deterministic states h of the whole rollout, (H + 1) * N of them. The reward has no gradient:
    the actor learns through the critic alone.
    """

    scores = "imagination"
    metric_name = "apt"

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        check_neighbours(own.knn_k, own.knn_self, run.particles)

    def __init__(
        self, sizes: Sizes, knn_k: Count, knn_rms: Flag, knn_avg: Flag, knn_clip: Number, knn_self: Flag
    ) -> None:
        super().__init__(sizes)
        self.entropy = ParticleEntropy(
            knn_k, scale=scaled(knn_rms), knn_avg=knn_avg, knn_clip=knn_clip, count_self=knn_self
        )

    def score_imagined(self, traj: Imagined) -> Scored:
        distances = self.entropy.distances(traj.deter.flatten(0, 1))
        value = self.entropy.value(distances).unflatten(0, traj.deter.shape[:2])
        return everywhere(value, {"particle_distance": distances.mean()})
