"""What the trajectories of skills cover, and how well a place tells which skill it is of.

Both measures of mazes are those of ReST (Jiang et al. 2022); the paper has none for locomotion, those here are ours.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Trajectory = Floats
"""(T, 2): x and y at every time, in m or, in mazes, in sides of the maze. T may differ between trajectories."""
Skills = Sequence[Sequence[Trajectory]]
"""Of N skills, E trajectories each."""

X_BIN = 1.0
"""Width of the bins on the x axis in m."""


def maze_metrics(skills: Skills, free: NDArray[np.bool_], log_base: float = math.e) -> dict[str, Any]:
    """State coverage and mutual information (Jiang et al. 2022, section 5), as plain values.

    - **state coverage**: of the cells of a grid over the maze, the part in percent that at least one skill visits, with
      one trajectory of each. Here one value for every e of E, made of the e-th trajectories of all skills, and their
      mean;
    - **mutual information** I(S; Z) = H(S) - 1/N sum_i H(S | Z = i), with the parts of all E trajectories in each cell
      as p(s | z). Skills are equally probable: p(s) is the mean of p(s | z). It is at most log N.

    A mutual information of 0 is estimated too high, by about (cells - 1) (N - 1) / (2 states) nats if the states were
    independent, and by more as they follow each other.

    Args:
        skills: N skills, all with E trajectories, in [0, 1] x [0, 1].
        free: (columns, rows): cells by x and y; those that are False lie within walls and do not count.
        log_base: of the logarithm.

    Raises:
        ValueError: no skills or trajectories, other numbers of them, an empty one, or one that leaves the maze.
    """
    _check(skills)
    every = np.concatenate([path for paths in skills for path in paths])
    if every.min() < 0.0 or every.max() > 1.0:
        raise ValueError(f"A trajectory leaves [0, 1] x [0, 1]: from {every.min():g} to {every.max():g}.")
    counts = np.array([[cell_counts(path, free) for path in paths] for paths in skills])  # (N, E, columns * rows)
    counts = counts[:, :, free.ravel()]
    if not counts.any((1, 2)).all():
        raise ValueError("A skill is never in a cell that counts: these are not the cells of its maze.")
    visited = np.asarray((counts > 0).any(axis=0))  # (E, cells)
    coverage = [float(part) for part in 100.0 * visited.mean(axis=1)]
    return {
        "state_coverage_percent": float(np.mean(coverage)),
        "state_coverage_percent_each": coverage,
        "trajectories_per_skill": len(skills[0]),
        "grid": list(free.shape),
        "cells": int(free.sum()),
        "blocked_cells": int((~free).sum()),
        **_told("mutual_information", counts.sum(1), log_base),
    }


def locomotion_metrics(skills: Skills, log_base: float = math.e) -> dict[str, Any]:
    """How far skills get along x, as plain values: per skill the mean and the standard deviation, over its E
    trajectories, of the last x, the least and the largest, in m, and of the number of steps, T - 1.

    ``not_in_paper`` holds what is of ours for all skills: how many bins of 1 m on the x axis any of them visits, the
    mutual information between these bins and skills (as in :func:`maze_metrics`), and how much the mean last x differs
    between skills (standard deviation, and largest minus least). Standard deviations are those of the values, with
    their number below the sum.

    Raises:
        ValueError: no skills or trajectories, other numbers of them, or an empty one.
    """
    _check(skills)
    rows: list[dict[str, Any]] = []
    for number, paths in enumerate(skills):
        along = [path[:, 0] for path in paths]
        measured = {
            "final_x": [x[-1] for x in along],
            "min_x": [x.min() for x in along],
            "max_x": [x.max() for x in along],
            "length": [len(x) - 1 for x in along],
        }
        rows.append({"skill": number, **{name: _summary(values) for name, values in measured.items()}})
    bins = [np.floor(np.concatenate([path[:, 0] for path in paths]) / X_BIN).astype(np.int64) for paths in skills]
    distinct, places = np.unique(np.concatenate(bins), return_inverse=True)
    owners = np.repeat(np.arange(len(skills)), [len(one) for one in bins])
    counts = np.zeros((len(skills), len(distinct)), np.int64)
    np.add.at(counts, (owners, places), 1)
    final = np.array([row["final_x"]["mean"] for row in rows])
    return {
        "per_skill": rows,
        "trajectories_per_skill": len(skills[0]),
        "not_in_paper": {
            "x_bins_visited": len(distinct),
            "x_bin_m": X_BIN,
            **_told("x_mutual_information", counts, log_base),
            "final_x_std_over_skills": float(final.std()),
            "final_x_range_over_skills": float(np.ptp(final)),
        },
    }


def cell_counts(path: Trajectory, free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many states of ``path`` (T, 2) are in each cell of a grid over [0, 1] x [0, 1], (columns * rows,), x first.

    Of ``free`` (columns, rows) only the shape counts. A cell holds its left and lower edges; the last ones all theirs.
    """
    shape = np.array(free.shape)
    cell = np.minimum((path * shape).astype(np.int64), shape - 1)
    return np.bincount(cell[:, 0] * shape[1] + cell[:, 1], minlength=free.size)


def mutual_information(counts: NDArray[np.int64], log_base: float = math.e) -> float:
    """I(S; Z) of ``counts`` (N, C), states of each skill in each cell, with equally probable skills."""
    given = counts / counts.sum(1, keepdims=True)
    return float(_entropy(given.mean(0)) - np.mean([_entropy(one) for one in given])) / math.log(log_base)


def _entropy(probability: Floats) -> float:
    """In nats."""
    there = probability[probability > 0.0]
    return float(-(there * np.log(there)).sum())


def _told(name: str, counts: NDArray[np.int64], log_base: float) -> Mapping[str, Any]:
    """The mutual information of ``counts`` as ``name``, with what one needs to read it."""
    return {
        name: mutual_information(counts, log_base),
        f"{name}_at_most": math.log(len(counts)) / math.log(log_base),
        "log_base": "e" if log_base == math.e else log_base,
        "states": int(counts.sum()),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values))}


def _check(skills: Skills) -> None:
    numbers = {len(paths) for paths in skills}
    if len(numbers) != 1 or 0 in numbers:
        raise ValueError(f"There are {len(skills)} skills with {sorted(numbers)} trajectories: give each as many.")
    for path in (path for paths in skills for path in paths):
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ValueError(f"A trajectory has shape {path.shape}, not (T, 2) with T above 0.")
        if not np.isfinite(path).all():
            raise ValueError("A trajectory is not finite.")
