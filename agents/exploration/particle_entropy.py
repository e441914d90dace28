"""Particle entropy: distances to the nearest neighbours (Liu & Abbeel 2021, "Behavior From the Void")."""

from typing import Literal

import torch
from torch import Tensor, nn

from agents.nn import across
from agents.nn.chunks import chunks
from agents.nn.moments import RunningMoments
from utils.errors import UserError
from utils.settings import SettingError

CHUNK_BYTES = 96 * 2**20
"""Memory of the rows whose distances are held at once."""
CHUNK_BYTES_ON_GPU = 2**30
"""Where starting an operation costs more than the operation; finding the smallest of a row takes twenty."""
SPARE = 8
"""Candidates beyond k, from which exact distances choose."""


Scale = Literal["none", "mean", "variance"]


def scaled(knn_rms: bool) -> Scale:
    """What the key of that name means."""
    return "mean" if knn_rms else "none"


def check_neighbours(k: int, count_self: bool, particles: int) -> None:
    """Raise :class:`SettingError` if an update has fewer than ``k`` neighbours for each of its ``particles``."""
    available = particles if count_self else particles - 1
    if k > available:
        raise SettingError(
            f"`agent.knn_k`={k} is more than the {available} neighbours that a particle has among the "
            f"{particles} states of an update. Use `agent.knn_k`={available} or less, or raise `batch_size`."
        )


@torch.no_grad()
def neighbour_distances(particles: Tensor, k: int, count_self: bool = False) -> Tensor:
    """Euclidean distances of every particle to its k nearest, (N, D) -> (N, k) in float32, ascending.

    A particle is no neighbour of its own; with ``count_self`` it is the first of the k, at distance 0. Where several
    processes share a batch, neighbours are those of all. Rows are handled in chunks of at most ``CHUNK_BYTES`` (on a
    GPU ``CHUNK_BYTES_ON_GPU``), never N x N at once. Squared distances by a matrix product pick k + ``SPARE``
    candidates, whose distances are then computed by subtraction. So every distance is exact; a farther neighbour can
    stand in for a nearer one only where more than ``SPARE`` differ by less than the rounding of the product, about 1e-6
    of the squared distance to the centre. Raises :class:`UserError` for too few particles.
    """
    own, size = particles.shape
    count = own * across.size()
    others = k - 1 if count_self else k
    if others > count - 1:
        raise UserError(f"{k} neighbours were asked for, but there are {count} particles. Lower agent.knn_k.")
    with torch.autocast(particles.device.type, enabled=False):
        points, first = across.gathered(particles.float()), across.first_row(own)
        points = points - points.mean(0)  # a product of large numbers would swallow small distances
        square = torch.linalg.vector_norm(points, dim=-1).square()
        candidates = min(others + SPARE, count - 1)
        most = CHUNK_BYTES_ON_GPU if points.is_cuda else CHUNK_BYTES
        rows = most // (4 * (count + 2 * candidates * size))
        parts = [slice(first + part.start, first + min(part.stop, own)) for part in chunks(own, rows)]
        distances = torch.cat([_nearest(points, square, part, others, candidates) for part in parts])
    return torch.cat([distances.new_zeros(len(distances), 1), distances], 1) if count_self else distances


def _nearest(points: Tensor, square: Tensor, part: slice, k: int, candidates: int) -> Tensor:
    """Distances of the rows ``part`` of ``points`` (N, D) to their k nearest others; ``square`` is |x|^2, (N,)."""
    own = torch.arange(len(points), device=points.device)[part, None]
    # |x - y|^2 without |x|^2, which is the same for all y
    squared = torch.addmm(square, points[part], points.T, alpha=-2).scatter_(1, own, torch.inf)
    index = squared.topk(candidates, largest=False, sorted=False).indices
    distance = torch.linalg.vector_norm(points[index] - points[part, None], dim=-1)
    return distance.topk(k, largest=False).values


class ParticleEntropy(nn.Module):
    """log(1 + mean_k max(d_k / M - clip, 0)) for the distances d_k of a particle to its k nearest neighbours.

    ``knn_avg=False`` takes the k-th distance alone in place of the mean. ``scale``: M is the running ``mean`` or, as
    CIC's published program has it, ``variance`` of the distances taken, which every call updates first; with ``none``
    it is 1. A negative ``knn_clip`` clips nothing.
    ``count_self`` counts the particle itself among the k (URLB's published code). Without ``log`` it is the mean alone.
    """

    def __init__(
        self,
        k: int,
        *,
        scale: Scale = "none",
        knn_avg: bool = True,
        knn_clip: float = 0.0,
        count_self: bool = False,
        log: bool = True,
    ) -> None:
        super().__init__()
        self.k, self.knn_avg, self.knn_clip, self.count_self, self.log = k, knn_avg, knn_clip, count_self, log
        self.scale, self.moments = scale, RunningMoments() if scale != "none" else None

    def distances(self, particles: Tensor) -> Tensor:
        """(N, D) -> (N, k), ascending; without gradient."""
        return neighbour_distances(particles, self.k, self.count_self)

    @torch.no_grad()
    def value(self, distances: Tensor) -> Tensor:
        """Distances (N, k), ascending -> (N,), in nats with ``log``; takes them into M."""
        taken = distances if self.knn_avg else distances[:, -1:]
        if self.moments is not None:
            self.moments.update(taken.flatten())
            divisor = self.moments.mean if self.scale == "mean" else self.moments.var
            taken = taken / divisor.clamp(min=torch.finfo(torch.float32).tiny)
        if self.knn_clip >= 0:
            taken = (taken - self.knn_clip).clamp(min=0)
        mean = taken.mean(1)
        return mean.log1p() if self.log else mean

    def forward(self, particles: Tensor) -> Tensor:
        """(N, D) -> (N,), float32, without gradient."""
        return self.value(self.distances(particles))
