"""Actions on their way from an agent to environments."""

import numpy as np
from torch import Tensor

from utils.errors import UserError


def executable(action: Tensor) -> np.ndarray:
    """``action`` (n, A) on the CPU. Raises :class:`UserError` where it holds NaN: no environment knows what to do then.

    An infinite one is clipped by the environment.
    """
    found = action.cpu().numpy()
    if np.isnan(found).any():
        raise UserError(
            "the agent's actions are NaN: its weights are finite, but too large to compute with. Take another snapshot "
            "or an earlier checkpoint, or start again with lower learning rates."
        )
    return found
