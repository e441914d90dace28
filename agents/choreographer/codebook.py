"""A codebook that follows running means, and whose unused codes are replaced (van den Oord et al. 2017, appendix A.1;
Mazzaglia et al. 2023).
"""

import torch
from torch import Tensor, nn

from agents.nn import across

EPS = 1e-5
"""Smooths the masses, so that none is 0."""

FAINT = 1e-3
"""A code whose mass is below this stays where it is: what is left of its sums would be mostly ``EPS``."""


class Codebook(nn.Module):
    """N codes of size d. Every code is the running mean of what it is the nearest to:

    C_k <- decay C_k + (1 - decay) n_k,   M_k <- decay M_k + (1 - decay) S_k,   E_k = M_k / C^_k

    with n_k rows nearest to code k, S_k their sum, and C^_k = (C_k + eps) / (sum C + N eps) * sum C. It starts, and a
    replaced code starts again, with C = 1 and M = E. ``published`` restores the form of the reference: C = 0 at the
    start, n_k at least 1, and C_k kept where code k is replaced; unused codes are then thrown out by 1 / (1 - decay) at
    the first step, and replaced ones by C_k.
    """

    def __init__(self, count: int, dim: int, *, decay: float = 0.99, published: bool = False) -> None:
        super().__init__()
        self.count, self.decay, self.published = count, decay, published
        self.codes: Tensor
        self.total: Tensor
        self.mass: Tensor
        self.used: Tensor
        self.unused: Tensor
        self.replaced: Tensor
        codes = torch.rand(count, dim)
        self.register_buffer("codes", codes)  # E, (N, d)
        self.register_buffer("total", codes.clone())  # M, (N, d)
        self.register_buffer("mass", torch.zeros(count) if published else torch.ones(count))  # C, (N,)
        self.register_buffer("used", torch.zeros(count))  # rows since the last count, (N,)
        self.register_buffer("unused", torch.full((), float(count)))  # codes without any at that count; all before it
        self.register_buffer("replaced", torch.zeros(()))  # those of them that were replaced

    def nearest(self, rows: Tensor) -> Tensor:
        """The code with the smallest Euclidean distance to each row, (R, d) -> int64 (R,)."""
        return self._distances(rows).argmin(1)

    def _distances(self, rows: Tensor) -> Tensor:
        """By subtraction, (R, N): a product would swallow small ones."""
        return torch.cdist(rows.float(), self.codes, compute_mode="donot_use_mm_for_euclid_dist")

    @torch.no_grad()
    def absorb(self, rows: Tensor, index: Tensor) -> Tensor:
        """Move the codes by rows (R, d) whose nearest ones are ``index`` (R,). Returns the share of rows each has,
        (N,)."""
        with torch.autocast(rows.device.type, enabled=False):
            member = torch.eye(self.count, device=rows.device)[index]
            sums, found = across.total(member.T @ rows.float()), across.total(member.sum(0))
        self.used.add_(found)
        self.mass.lerp_(found.clamp(min=1) if self.published else found, 1 - self.decay)
        self.total.lerp_(sums, 1 - self.decay)
        whole = self.mass.sum()
        means = self.total / ((self.mass + EPS) / (whole + self.count * EPS) * whole)[:, None]
        self.codes.copy_(means if self.published else torch.where(self.mass[:, None] > FAINT, means, self.codes))
        return found / (len(index) * across.size())

    @torch.no_grad()
    def recount(self, rows: Tensor | None) -> None:
        """Count the codes that were nearest to no row since the last call, and begin to count anew.

        With ``rows`` (R, d) these codes are replaced, one after the other, by rows drawn with probabilities
        proportional to their distance to the nearest code; every draw knows the codes replaced before it. Where all
        rows lie on codes, nothing is replaced. Nothing is read on the host.
        """
        unused = self.used == 0
        self.unused.copy_(unused.sum())
        self.replaced.zero_()
        self.used.zero_()
        if rows is None:
            return
        rows = across.gathered(rows.float())
        distances, uniform = self._distances(rows), torch.rand(self.count, device=rows.device)
        for k in range(self.count):
            below = distances.amin(1).double().cumsum(0)
            drawn = (below <= uniform[k] * below[-1]).sum().clamp(max=len(rows) - 1)
            row = rows.index_select(0, drawn[None])[0]
            due = unused[k] & (below[-1] > 0)
            for buffer in (self.codes, self.total):
                buffer[k] = torch.where(due, row, buffer[k])
            if not self.published:
                self.mass[k] = torch.where(due, 1.0, self.mass[k])
            moved = torch.linalg.vector_norm(rows - row, dim=-1)
            distances[:, k] = torch.where(due, moved, distances[:, k])
            self.replaced.add_(due)
