"""APT: reach states far from those imagined beside them (Liu & Abbeel 2021, "Behavior From the Void")."""

from typing import ClassVar

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, Scored, Sizes, everywhere
from agents.exploration.particle_entropy import KNN_RULES, ParticleEntropy, check_neighbours


class APT(IntrinsicReward):
    """r_t = log(1 + mean_k max(d_k(h_t) - clip, 0)), d_k the distances of h_t to its k nearest neighbours.

    The particles are the deterministic states h of the whole rollout, (H + 1) * N of them. The reward has no gradient:
    the actor learns through the critic alone.
    """

    scores = "imagination"
    metric_name = "apt"
    rules: ClassVar = KNN_RULES
    checks = (check_neighbours,)

    def __init__(self, sizes: Sizes, knn_k: int, knn_rms: bool, knn_avg: bool, knn_clip: float, knn_self: bool) -> None:
        super().__init__(sizes)
        self.entropy = ParticleEntropy(knn_k, knn_rms=knn_rms, knn_avg=knn_avg, knn_clip=knn_clip, count_self=knn_self)

    def score_imagined(self, traj: Imagined) -> Scored:
        distances = self.entropy.distances(traj.deter.flatten(0, 1))
        value = self.entropy.value(distances).unflatten(0, traj.deter.shape[:2])
        return everywhere(value, {"particle_distance": distances.mean()})
