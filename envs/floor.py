"""A floor that shows agents of images where the robot is: on the suite's checkers every place looks alike."""

import colorsys

import numpy as np
from dm_control import mujoco
from mujoco import mjtGeom, mjtJoint
from numpy.typing import NDArray

from utils.errors import UserError

PERIOD = 30.0
"""Metres after which the colours repeat: 15 to each side of where episodes begin."""

NAMES = ("floor", "ground")
"""What the models call the plane that bodies move on."""

HUES = 5 / 6
"""Share of the colour circle that a period takes: from red to magenta, so that its ends differ."""


def colour(physics: mujoco.Physics) -> None:
    """Lay one texture over every square of ``PERIOD`` metres of the floor, its middle at x = y = 0.

    For bodies that move in the plane of their joints a rainbow along x, for others red along x and green along y, blue
    at one half (as *METRA*, Park et al., 2024, colours the floors of cheetah and quadruped). Counts if this happens
    before the first frame, and changes nothing but pixels.

    Raises:
        UserError: the model has no floor with a picture on it.
    """
    model = physics.model
    found = [
        geom
        for geom in range(model.ngeom)
        if model.id2name(geom, "geom") in NAMES
        and model.geom_type[geom] == mjtGeom.mjGEOM_PLANE
        and model.geom_matid[geom] >= 0
        and _texture(physics, model.geom_matid[geom]) >= 0
    ]
    if not found:
        raise UserError("floor=gradient: this body has no floor that could be coloured. Set floor=default.")
    geom = found[0]
    material = model.geom_matid[geom]
    texture = _texture(physics, material)
    height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
    planar = not (model.jnt_type == mjtJoint.mjJNT_FREE).any()
    picture = texels(height, width, *model.geom_pos[geom][:2], planar=planar)
    begin = model.tex_adr[texture]
    model.tex_data[begin : begin + picture.size] = picture.ravel()
    model.mat_texuniform[material] = True  # repeats per length, of which MuJoCo counts half
    model.mat_texrepeat[material] = 2 / PERIOD


def texels(height: int, width: int, x: float, y: float, *, planar: bool) -> NDArray[np.uint8]:
    """The texture, uint8 (height, width, 3), of a plane whose middle lies at ``x``, ``y`` in m.

    Its columns run along x and its rows against y, with the middle of the picture in the middle of the plane.
    """
    along = _place(np.arange(width, dtype=np.float64) + 0.5, width, x)
    if planar:
        rainbow = [colorsys.hsv_to_rgb(HUES * share, 1.0, 1.0) for share in along]
        return np.broadcast_to(np.rint(255 * np.array(rainbow)), (height, width, 3)).astype(np.uint8)
    across = _place(height - np.arange(height, dtype=np.float64) - 0.5, height, y)
    picture = np.full((height, width, 3), 128.0)
    picture[..., 0], picture[..., 1] = 255 * along, 255 * across[:, None]
    return np.rint(picture).astype(np.uint8)


def _place(texel: NDArray[np.float64], count: int, middle: float) -> NDArray[np.float64]:
    """Where in a period, in [0, 1), a texel lies; one half is where episodes begin."""
    return (texel / count + middle / PERIOD) % 1.0


def _texture(physics: mujoco.Physics, material: int) -> int:
    """Number of the picture of a material, -1 for none; MuJoCo keeps one for each of its roles."""
    return int(np.max(physics.model.mat_texid[material]))
