"""Facts that become true once and stay so: what an agent may learn from data on the host, and act upon from then on."""

import torch
from torch import Tensor, nn


class Latch(nn.Module):
    """False until :meth:`trip`; then true for good, also in whatever is loaded from a snapshot or checkpoint.

    Of use where what an update does depends on data that was seen, such as a first reward. It is tripped on the host,
    in ``adapt``, and it is part of what tells one captured graph from another, so ``learn`` may branch on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.tripped: Tensor
        self.register_buffer("tripped", torch.zeros((), dtype=torch.bool))
        self.register_load_state_dict_post_hook(Latch._loaded)

    def trip(self) -> None:
        """From now on it is true."""
        self.tripped.fill_(True)
        self.on = True

    def _loaded(self, incompatible: object) -> None:
        self.on = bool(self.tripped)


def trip_all(agent: object) -> None:
    """Make every fact of ``agent`` true that its modules keep in latches."""
    for module in agent.modules() if isinstance(agent, nn.Module) else ():
        if isinstance(module, Latch):
            module.trip()
