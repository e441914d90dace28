"""Places: how many squares of a metre a body has been in, as METRA counts them (Park et al., 2024, section 5.2).

Works on stored states alone, as :mod:`analysis.cells`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from utils.errors import unknown_value

SIDE = 1.0
"""Of a square, in m."""

ROOTS: Mapping[str, tuple[int, ...]] = {
    "walker": (1,),
    "cheetah": (0,),
    "hopper": (0,),
    "quadruped": (0, 1),
    "humanoid": (0, 1),
    "humanoid_CMU": (0, 1),
    "dog": (0, 1),
}
"""Which numbers of a state are where the torso is: x, and y of bodies that move in two directions, in m."""


def root(domain: str) -> list[int]:
    """Which numbers of a state of ``domain`` are its place. Raises :class:`UserError` naming those that are known."""
    if domain not in ROOTS:
        raise unknown_value("domain", domain, ROOTS)
    return list(ROOTS[domain])


def positions(domain: str, states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the torso is in ``states`` (N, S), (N', 1) or (N', 2) in m; states that are not finite are left out.
    Raises as :func:`root`.
    """
    columns = root(domain)
    states = np.asarray(states, np.float64)
    return states[np.isfinite(states).all(1)][:, columns]


def visited(domain: str, states: NDArray[np.float64]) -> int:
    """The number of distinct squares among ``states`` (N, S): floor(x) and floor(y), or floor(x) alone for bodies that
    move along x, from the world's origin, not from where an episode began. Raises as :func:`root`.
    """
    return len(np.unique(np.floor(positions(domain, states) / SIDE), axis=0))
