"""Where each skill goes, by random network distillation (Burda et al. 2019): a predictor per skill."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.nn.chunks import chunks
from agents.nn.optimizer import Optimizer
from agents.nn.tanh_layer import TanhMLP
from agents.rest.batches import batches
from agents.rest.settings import DensitySettings

ROWS = 2048
"""Rows handled at once on a CPU: what two layers of 512 make of them stays in the cache. 80 steps on
10,000 rows take 27 s as torch's modules do them (one thread of a Zen 5) and 8.5 s here: the target's outputs computed
once spare 6 s, fused Adam less than 1 s, parts of the rows 3 s, :mod:`agents.nn.tanh_layer` 8 s."""

View = Callable[[Tensor], Tensor]
"""What a density makes of raw observations before it reads them, (..., D) -> (..., D)."""


class ScaledPositions(nn.Module):
    """The first ``positions`` columns times ``scale``, the others as they are."""

    def __init__(self, positions: int, scale: float) -> None:
        super().__init__()
        self.positions, self.scale = positions, scale

    def forward(self, obs: Tensor) -> Tensor:
        return torch.cat([obs[..., : self.positions] * self.scale, obs[..., self.positions :]], -1)


class Densities(nn.Module):
    """e_j(s) = mean over outputs of (predictor_j(s) - target_j(s))^2 for each of N skills; small where skill j goes.

    With ``shared_target`` all have one target, whose outputs are computed once for all of them. With ``same_start`` all
    predictors begin as copies of one. ``views`` (N) are functions of raw observations, one object where they are the
    same; they are not part of this module.

    Skills are computed one after the other: for 10 of them and 10,000 states, one product of all their matrices at once
    is no faster on a CPU, and holds N times the activations.
    """

    def __init__(self, obs_dim: int, settings: DensitySettings, views: Sequence[View], *, same_start: bool) -> None:
        super().__init__()
        self.settings, self.views = settings, tuple(views)
        count = len(views)

        def build() -> nn.Module:
            return TanhMLP(obs_dim, settings.hid_sizes, settings.outputs)

        targets = [build() for _ in range(1 if settings.shared_target else count)]
        self.targets = nn.ModuleList(targets).requires_grad_(False)
        first = build()
        self.predictors = nn.ModuleList(copy.deepcopy(first) if same_start else build() for _ in range(count))

    def target(self, skill: int) -> nn.Module:
        """The frozen network that the predictor of ``skill`` imitates."""
        return self.targets[skill if len(self.targets) > 1 else 0]

    @torch.no_grad()
    def errors(self, obs: Tensor, skills: Sequence[int] | None = None) -> Tensor:
        """Errors of raw observations (..., D) under ``skills`` (default: all), (K, ...)."""
        skills = range(len(self.predictors)) if skills is None else skills
        rows = obs.reshape(-1, obs.shape[-1])
        out = rows.new_empty(len(skills), len(rows))
        for part in chunks(len(rows), at_once(rows)):
            known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # target and view: what both make of these rows
            for place, skill in enumerate(skills):
                target, view = self.target(skill), self.views[skill]
                key = id(target), id(view)
                if key not in known:
                    seen = view(rows[part])
                    known[key] = seen, target(seen)
                seen, wanted = known[key]
                out[place, part] = (self.predictors[skill](seen) - wanted).square().mean(-1)
        return out.reshape(len(skills), *obs.shape[:-1])

    def refit(self, skill: int, obs: Tensor, optimizer: Optimizer) -> Updated:
        """``iters`` steps of the predictor of ``skill`` on raw observations (R, D), each on all of them or on
        ``batch_size`` rows: the loss is the mean of e.

        What the target makes of them is computed once. Reported are the first and the last step's loss.
        """
        with torch.no_grad():
            seen = self.views[skill](obs)
            wanted = torch.cat([self.target(skill)(seen[part]) for part in chunks(len(seen), at_once(seen))])
        predictor, first = self.predictors[skill], None

        def losses(x: Tensor, y: Tensor) -> Iterator[Tensor]:
            for part in chunks(len(x), at_once(x)):
                yield (predictor(x[part]) - y[part]).square().sum() / y.numel()

        for index in batches(len(seen), self.settings.batch_size, self.settings.iters, seen.device):
            loss, norm = optimizer.step_in_parts(losses(seen[index], wanted[index]))
            first = loss if first is None else first
        assert first is not None
        return Updated({"rnd_loss": loss, "rnd_grad_norm": norm}, {"rnd_error_before": first})


def at_once(rows: Tensor) -> int:
    """How many of ``rows`` go through a network at once."""
    return ROWS if rows.device.type == "cpu" else len(rows)
