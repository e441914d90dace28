"""Parts of a snapshot into modules."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from utils.errors import UserError


def load_part(module: nn.Module, name: str, state: Mapping[str, Tensor], advice: str) -> None:
    """Load the part ``name`` of a snapshot. Raises :class:`UserError`, with ``advice``, when it is of other sizes."""
    try:
        own = module.state_dict()
        for key, tensor in state.items():
            if key in own and tensor.dtype != own[key].dtype:
                raise RuntimeError(f"{key} is {tensor.dtype}, not {own[key].dtype}")
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the snapshot's {name} does not fit this agent ({reason}). {advice}") from error


def renamed(state: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    """``state`` with every key that begins with one of ``prefixes`` beginning with its partner instead."""

    def name(key: str) -> str:
        old = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
        return prefixes.get(old, "") + key.removeprefix(old)

    return {name(key): value for key, value in state.items()}
