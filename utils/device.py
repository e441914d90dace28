"""Which device a run computes on."""

import sys

import torch

from utils.errors import UserError
from utils.streams import show


def resolve_device(name: str, key: str = "device") -> torch.device:
    """``auto`` takes CUDA when there is one and says so, loudly, when there is not.

    Raises :class:`UserError` for a CUDA device that is not there, naming ``key``.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        if not available:
            show(
                "device: cpu, NO CUDA DEVICE FOUND. The published sizes want a GPU; for a CPU there are small presets.",
                sys.stdout,
            )
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda"):
        index = int(name[5:]) if ":" in name else 0
        if not available:
            raise UserError(
                f"{key}={name}: torch {torch.__version__} finds no CUDA device. Use {key}=cpu or {key}="
                + ("auto." if key == "device" else "null.")
            )
        if index >= torch.cuda.device_count():
            raise UserError(f"{key}={name}: there are {torch.cuda.device_count()} CUDA devices. Use a lower index.")
    return torch.device(name)
