"""What a record is: one environment output, an array per key, stored as one element of a structured dtype."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

RecordSpec = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
"""Key -> (shape of one record, dtype), e.g. ``{"observation": ((3, 64, 64), "uint8"), "reward": ((), "float32")}``."""

FLAGS = ("is_first", "is_last", "is_terminal")


def record_spec(
    obs_shape: tuple[int, ...], obs_dtype: DTypeLike, action_dim: int, skill_dim: int, physics_dim: int | None
) -> RecordSpec:
    """What is stored of every step: no skill where its size is 0, no simulator state where that is None."""
    spec: dict[str, tuple[tuple[int, ...], Any]] = {
        "observation": (tuple(obs_shape), obs_dtype),
        "action": ((action_dim,), "float32"),
        "reward": ((), "float32"),
        **dict.fromkeys(FLAGS, ((), "bool")),
    }
    if skill_dim:
        spec |= {"skill": ((skill_dim,), "float32"), "skill_valid": ((), "bool")}
    if physics_dim is not None:
        spec["physics"] = ((physics_dim,), "float64")
    return spec


def record_dtype(spec: RecordSpec) -> np.dtype:
    """The aligned structured dtype of one record; does not depend on the order of the keys in ``spec``.

    Raises ``ValueError`` unless ``is_first``, ``is_last`` and ``is_terminal`` are there as bools of shape ().
    """
    for flag in FLAGS:
        if flag not in spec or tuple(spec[flag][0]) != () or np.dtype(spec[flag][1]) != np.bool_:
            raise ValueError(f"a record needs the key {flag!r} with shape () and dtype bool")
    fields = [(key, np.dtype(dtype), tuple(shape)) for key, (shape, dtype) in spec.items()]
    # Widest alignment first leaves no holes between fields.
    return np.dtype(sorted(fields, key=lambda field: (-field[1].alignment, field[0])), align=True)


def fields_of(dtype: np.dtype) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Key -> (shape, dtype) of a structured dtype made by :func:`record_dtype`."""
    return {key: (field[0].shape, field[0].base) for key, field in (dtype.fields or {}).items()}


class RecordCheck:
    """Whether records of ``num_envs`` environments fit ``dtype``: keys, shapes and dtypes, nothing is converted."""

    def __init__(self, dtype: np.dtype, num_envs: int) -> None:
        self._mask_shape = (num_envs,)
        self._expected = {key: ((num_envs, *shape), scalar) for key, (shape, scalar) in fields_of(dtype).items()}

    def __call__(self, records: Mapping[str, np.ndarray], mask: np.ndarray | None) -> list[int]:
        """The environments that write (those ``mask`` selects). Raises ``ValueError`` naming the key."""
        if records.keys() != self._expected.keys():
            raise ValueError(f"record keys {sorted(records)}, expected {sorted(self._expected)}")
        for key, (shape, dtype) in self._expected.items():
            value = records[key]
            if value.shape != shape or value.dtype != dtype:
                raise ValueError(f"record key {key!r}: {value.dtype} {value.shape}, expected {dtype} {shape}")
        if mask is None:
            return list(range(*self._mask_shape))
        if mask.shape != self._mask_shape or mask.dtype != np.bool_:
            raise ValueError(f"mask: {mask.dtype} {mask.shape}, expected bool {self._mask_shape}")
        return np.flatnonzero(mask).tolist()
