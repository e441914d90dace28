"""Adam with gradient clipping and decoupled weight decay, and the switch that freezes modules."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from agents.nn import across


class Optimizer:
    """One network's optimiser: clip the global gradient norm, decay, Adam step.

    The decay is ``p <- (1 - wd) p`` on every parameter, not scaled by the learning rate (as published with
    Dreamer agents on URLB, Rajeswar et al. 2023); AdamW computes
    ``p <- (1 - lr * weight_decay) p`` before its step, hence ``weight_decay = wd / lr``.
    ``clip=None`` leaves the gradient as it is; with ``wd=0`` and ``eps=1e-8`` as well, this is plain Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        eps: float = 1e-5,
        clip: float | None = 100,
        wd: float = 1e-6,
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.clip = clip
        on_cuda = any(p.is_cuda for p in self.parameters)
        self.adam = torch.optim.AdamW(
            self.parameters, lr=lr, eps=eps, weight_decay=wd / lr, fused=True, capturable=on_cuda
        )
        for p in self.parameters:
            # as Adam itself does at its first step, but now: what an update overwrites exists before the first
            moments = {key: torch.zeros_like(p, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
            self.adam.state[p] = {"step": torch.zeros((), device=p.device), **moments}

    def step(self, loss: Tensor) -> Tensor:
        """Descend ``loss`` (scalar) once; returns the gradient norm before clipping, a 0-dim tensor on the device."""
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        return self._descend()

    def step_in_parts(self, losses: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Descend the sum of ``losses`` (scalars) once; returns the sum and the norm as :meth:`step` does.

        Each is done with before the next is asked for, so a generator keeps what one of them needs and no more.
        """
        self.adam.zero_grad(set_to_none=True)
        total = []
        for loss in losses:
            with torch.autocast(loss.device.type, enabled=False):
                loss.backward()
            total.append(loss.detach())
        return torch.stack(total).sum(), self._descend()

    def _descend(self) -> Tensor:
        """Along the gradients that are there."""
        across.average_gradients(self.parameters)
        if self.clip is None:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        else:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.adam.step()
        # autocast keeps low-precision copies of weights until its outermost block ends; these are stale now
        torch.clear_autocast_cache()
        return norm

    def state_dict(self) -> dict[str, Any]:
        return self.adam.state_dict()

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back to what :meth:`state_dict` returned, in place: a captured update goes on with it.

        Raises ``ValueError`` for the state of other parameters.
        """
        saved = [state["state"].get(index) for index in range(len(self.parameters))]
        if len(state["state"]) != len(saved) or None in saved:
            raise ValueError(f"the state is of {len(state['state'])} parameters, the optimiser has {len(saved)}")
        for p, values in zip(self.parameters, saved, strict=True):
            for key, value in self.adam.state[p].items():
                value.copy_(values[key])


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules' parameters take no gradient; gradients still flow *through* them to their inputs."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
