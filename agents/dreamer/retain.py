"""What keeps fine-tuning from forgetting: an actor that waits for its critic, and a tie to where the actor started."""

from typing import Literal

import torch
from torch import Tensor, nn

from agents.dreamer.actor_critic import Actor
from agents.latch import Latch
from agents.nn.distributions import Policy, normal_kl

Due = Literal["nothing", "critic", "all"]
"""What of a behaviour learns in an update."""


class Anchor(nn.Module):
    """The actor as fine-tuning found it, and how much the one that learns is held to it.

    Adds w_k KL(pi(f_t) || pi_0(f_t)) to the actor's loss, weighted over t as that is, where w_k = ``weight`` *
    max(0, 1 - k / ``updates``) after k updates of the actor: near the start the return has to be worth a departure, and
    later nothing is left of the tie. The divergence is that of the Normals before they are clipped or truncated.
    Without an actor from a snapshot (:meth:`hold`) there is no tie.
    """

    def __init__(self, actor: Actor, weight: float, updates: int) -> None:
        super().__init__()
        self.actor, self.weight, self.updates = actor.requires_grad_(False), weight, updates
        self.held = Latch()
        self.now: Tensor
        self.register_buffer("now", torch.zeros(()), persistent=False)

    def hold(self, actor: Actor) -> None:
        """``actor`` is where it starts."""
        self.actor.load_state_dict(actor.state_dict())
        self.held.trip()

    def settle(self, count: int) -> None:
        """Before an update, on the host: ``count`` are those of the actor so far."""
        self.now.fill_(self.weight * max(0.0, 1 - count / self.updates) if self.held.on else 0.0)

    def divergence(self, policy: Policy, feat: Tensor, skill: Tensor) -> Tensor:
        """KL(policy || pi_0) in nats, (H, N), at feat (H, N, F) and skill (H, N, n); with a gradient for ``policy``."""
        with torch.no_grad():
            start = self.actor(feat, skill)
        return normal_kl(policy, start)
