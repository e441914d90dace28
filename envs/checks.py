"""Checks of single values that several modules of environments make; imports none of them."""

from numbers import Integral

from utils.errors import UserError, unknown_value

OBS_TYPES = ("pixels", "states")
RENDER_QUALITIES = ("full", "lite")
FLOORS = ("default", "gradient")
SMALLEST_IMAGE = 16  # pixels; nothing can be told apart below


def is_whole(value: object) -> bool:
    """Whether ``value`` is a whole number, of Python or NumPy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_positive(key: str, value: int) -> None:
    """Raises UserError unless ``value`` is a whole number above 0."""
    if not is_whole(value) or value <= 0:
        raise UserError(f"{key}={value} is not possible. Set it to a whole number above 0.")


def check_image_size(value: int) -> None:
    """Raises UserError unless an image of ``value`` pixels a side shows something."""
    if not is_whole(value) or value < SMALLEST_IMAGE:
        raise UserError(f"image_size={value} is not possible. Set it to a whole number above {SMALLEST_IMAGE - 1}.")


def check_seed(value: int) -> None:
    """Raises UserError unless ``value`` is a whole number in [0, 2**32)."""
    if not is_whole(value) or not 0 <= value < 2**32:
        raise UserError(f"seed={value} is not possible. Set it to a whole number from 0 to {2**32 - 1}.")


def check_obs_type(value: str) -> None:
    """Raises UserError unless ``value`` is one of ``OBS_TYPES``."""
    if value not in OBS_TYPES:
        raise unknown_value("obs_type", value, OBS_TYPES)


def check_floor(value: str) -> None:
    """Raises UserError unless ``value`` is one of ``FLOORS``."""
    if value not in FLOORS:
        raise unknown_value("floor", value, FLOORS)


def check_render_quality(value: str) -> None:
    """Raises UserError unless ``value`` is one of ``RENDER_QUALITIES``."""
    if value not in RENDER_QUALITIES:
        raise unknown_value("render.quality", value, RENDER_QUALITIES)
