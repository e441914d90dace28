"""What an iteration keeps in memory for its gradients, roughly."""

from collections.abc import Iterable

import torch
from torch import nn

from agents.rest.density import ROWS


def activation_bytes(
    networks: Iterable[nn.Module], predictor: nn.Module | None, rows: int, device: torch.device
) -> int:
    """Bytes in float32 of a step on ``rows`` states, of whichever of the networks needs most.

    They are trained one after the other, and each keeps the inputs of its layers and the outputs of the last. On a CPU
    the predictor of a density sees ``ROWS`` states at once.
    """
    parts = [(network, rows) for network in networks]
    if predictor is not None:
        parts.append((predictor, min(rows, ROWS) if device.type == "cpu" else rows))
    return max(4 * seen * _kept(network) for network, seen in parts)


def _kept(network: nn.Module) -> int:
    """Numbers for each state."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    return sum(layer.in_features for layer in layers) + layers[-1].out_features
