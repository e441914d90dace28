"""Whether a list of kernels fits the image: known before any network is built."""

from collections.abc import Sequence

from agents.nn.networks import conv_size
from utils.settings import SettingError


def check_encoder(key: str, kernels: Sequence[int], size: int) -> None:
    """Raise :class:`SettingError` if nothing is left of a ``size`` px image after convolutions of stride 2."""
    if conv_size(size, kernels) < 1:
        most = max((n for n in range(1, 5) if conv_size(size, [4] * n) >= 1), default=1)
        raise SettingError(
            f"`{key}`={list(kernels)}: an image of {size} px is too small for these convolutions of stride 2. "
            f"Use fewer or smaller kernels, such as [{','.join(['4'] * most)}]."
        )


def check_decoder(key: str, kernels: Sequence[int], size: int) -> None:
    """Raise :class:`SettingError` unless transposed convolutions of stride 2 make a ``size`` px image of one pixel."""
    made = 1
    for kernel in kernels:
        made = 2 * (made - 1) + kernel
    if made != size:
        raise SettingError(
            f"`{key}`={list(kernels)} make an image of {made} px, not of {size}. "
            "Each kernel k makes 2 * (size - 1) + k of the size before it, from 1: [5,5,6,6] make 64."
        )
