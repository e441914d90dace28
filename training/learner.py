"""Updates that can be taken back: one whose loss is not a finite number never becomes part of the agent."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.agent import Learns, Updated
from replay import Replay
from utils.nested import tensors_in
from utils.seeding import random_state, set_random_state


class NumericalFault(Exception):
    """A loss became NaN or infinite; agent, replay sampler and random states are as before that update."""

    def __init__(self, metric: str, value: float) -> None:
        super().__init__(f"{metric} is {value}")
        self.metric, self.value = metric, value


class Learner:
    """Draws batches, updates the agent, and looks at the losses after each update.

    Looking costs one wait for the device per update, after it; a training loop that acts next waits there anyway. What
    an update overwrites is kept in a second copy, so the memory for weights and optimiser states counts twice.
    """

    def __init__(self, agent: Learns, replay: Replay) -> None:
        self.agent, self.replay = agent, replay
        self._kept = Kept(agent)

    def update(self) -> Updated:
        """One update and what it says of itself. Raises :class:`NumericalFault`, all taken back then."""
        sampler, random = self.replay.sampler.state, random_state(self.agent.device)
        self._kept.store()
        updated = self.learn_from(self.replay.sample())
        fault = find_fault(updated.losses)
        if fault is not None:
            self.put_back()
            self.replay.sampler.state = sampler
            set_random_state(random, self.agent.device)
            raise fault
        return updated

    def learn_from(self, batch: Mapping[str, Tensor]) -> Updated:
        """An update of the agent, and nothing else."""
        return self.agent.update(batch)

    def put_back(self) -> None:
        """The agent as it was before that."""
        self._kept.put_back()

    def close(self) -> None:
        """There is nothing to end."""

    def skip(self) -> None:
        """Move on from a batch that led to a fault: it would be drawn again."""
        self.replay.sample()


def find_fault(losses: Mapping[str, Tensor]) -> NumericalFault | None:
    """The first of ``losses``, 0-dim tensors, that is NaN or infinite; reads the device once."""
    if not losses:
        return None
    values = torch.stack([value.detach().float() for value in losses.values()])
    if torch.isfinite(values).all():
        return None
    return next(
        NumericalFault(name, value)
        for name, value in zip(losses, values.tolist(), strict=True)
        if value - value != 0  # NaN and infinities only
    )


class Changes(Protocol):
    """What an update may overwrite: the tensors of :meth:`training_state`, and a count."""

    updates: int

    def training_state(self) -> dict[str, Any]: ...


class Kept:
    """A copy of all that an update may overwrite in an agent."""

    def __init__(self, agent: Changes) -> None:
        self._agent = agent
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []
        """Tensors of one kind, and their copies: only those of one kind are copied by a few kernels, not one by one."""
        self._updates = 0

    @torch.no_grad()
    def store(self) -> None:
        """Copy everything as it is now."""
        if not self._pairs:
            # not before: a checkpoint that is loaded brings tensors of its own
            kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for tensor in tensors_in(self._agent.training_state()):
                kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
            self._pairs = [(live, [torch.empty_like(tensor) for tensor in live]) for live in kinds.values()]
        for live, copies in self._pairs:
            torch._foreach_copy_(copies, live)
        self._updates = self._agent.updates

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo whatever happened to the agent since :meth:`store`."""
        for live, copies in self._pairs:
            torch._foreach_copy_(live, copies)
        self._agent.updates = self._updates
