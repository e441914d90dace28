"""Actions on their way from an agent to environments."""

import numpy as np

from utils.errors import UserError


def executable(action: np.ndarray) -> np.ndarray:
    """``action`` (n, A). Raises :class:`UserError` where it holds NaN: no environment knows what to do then.

    An infinite one is clipped by the environment.
    """
    if np.isnan(action).any():
        raise UserError(
            "the agent's actions are NaN: its weights are finite, but too large to compute with. Take another snapshot "
            "or an earlier checkpoint, or start again with lower learning rates."
        )
    return action
