"""One camera of one simulation, at the suite's own quality or at a much faster one."""

import os
from typing import Any

import numpy as np
from dm_control import _render, mujoco
from mujoco import mjr_resizeOffscreen

from envs.checks import check_render_quality
from envs.gl import UNSET
from utils.errors import UserError


class Renderer:
    """Renders square frames of ``physics`` from a fixed camera.

    ``full`` gives exactly the pixels of ``physics.render(size, size, camera_id=...)``. ``lite`` leaves out shadows,
    reflections, haze and multisampling and draws round shapes with fewer facets; the skybox stays. In software
    rendering lite takes a small fraction of the time, most of it saved by the shadows and the facets.

    Args:
        physics: the simulation. Its model's off-screen buffer and quality settings are overwritten, which counts only
            if this happens before the first frame.
        size: side of the frame in pixels.
        camera_id: number or name of a camera in the model, or -1 for the free camera.
        quality: ``full`` or ``lite``.

    Raises:
        UserError: the quality is unknown, or MuJoCo was loaded without a rendering backend.
        ValueError: the model has no such camera.
    """

    def __init__(self, physics: mujoco.Physics, size: int, camera_id: int | str, quality: str = "full"):
        check_render_quality(quality)
        if _render.BACKEND in (None, "off"):
            raise UserError(
                f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: dm_control was loaded without a GL backend, pixels need "
                f"one. {UNSET}"
            )
        visual = physics.model.vis
        # MuJoCo would allocate 640x480, and clear all of it for every frame.
        visual.global_.offwidth = visual.global_.offheight = size
        self._flags: dict[str, bool] = {}
        if quality == "lite":
            visual.quality.offsamples = 0
            visual.quality.shadowsize = 0
            # Default 28 and 16: at 64 pixels a capsule covers so few of them that the coarser mesh hardly shows.
            visual.quality.numslices = 12
            visual.quality.numstacks = 8
            self._flags = {"shadow": False, "reflection": False, "haze": False}
        # One camera for good: physics.render() would allocate a scene for every frame.
        self._camera = mujoco.Camera(physics, height=size, width=size, camera_id=camera_id)
        self._other: Any = None  # camera of the last other size
        self._physics, self._size, self._camera_id = physics, size, camera_id

    def frame(self) -> np.ndarray:
        """The present view: uint8 (size, size, 3), a fresh array."""
        return self._camera.render(render_flag_overrides=dict(self._flags)).copy()

    def frame_at(self, size: int) -> np.ndarray:
        """The present view at another resolution: uint8 (size, size, 3), a fresh array.

        The off-screen buffer is that large only meanwhile: a larger one would slow down every later ``frame()``.
        """
        if size == self._size:
            return self.frame()
        try:
            self._resize(size)
            if self._other is None or self._other.width != size:
                self._other = mujoco.Camera(self._physics, height=size, width=size, camera_id=self._camera_id)
            return self._other.render(render_flag_overrides=dict(self._flags)).copy()
        finally:
            self._resize(self._size)

    def _resize(self, size: int) -> None:
        """Makes the off-screen buffer ``size`` pixels wide and high; textures, terrain and quality stay."""
        visual = self._physics.model.vis.global_
        visual.offwidth = visual.offheight = size  # what cameras are checked against
        contexts = self._physics.contexts
        with contexts.gl.make_current() as context:
            context.call(mjr_resizeOffscreen, size, size, contexts.mujoco.ptr)
