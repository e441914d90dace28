"""CUDA graphs without CUDA: what a graph would replay is computed anew."""

from contextlib import nullcontext

import torch
from torch.utils import _pytree as pytree

from utils.compile import capture_agent
from utils.graphs import Graphs


class Replayed:
    """Computes anew, from the tensors of the capture, what a graph would replay; what is no tensor stays as it was."""

    made: int

    def __init__(self, function, leaves, tree):
        type(self).made += 1
        self.given = [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves]
        self.function, self.tree = function, tree

    def __call__(self, tensors):
        for place, tensor in zip([x for x in self.given if isinstance(x, torch.Tensor)], tensors, strict=True):
            place.copy_(tensor)
        args, kwargs = pytree.tree_unflatten(self.given, self.tree)
        return self.function(*args, **kwargs)


def stand_in(monkeypatch):
    """From here on graphs are of this kind; returns the class, which counts them."""
    Replayed.made = 0
    monkeypatch.setattr(Graphs, "capture", lambda self, function, leaves, tree: Replayed(function, leaves, tree))
    monkeypatch.setattr(Graphs, "warm_up", lambda self, function: function())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    return Replayed


def graphed(agent):
    """``agent``, captured as ``compile=cudagraphs`` has it."""
    capture_agent(agent)
    return agent
