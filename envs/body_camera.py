"""Pictures of Gymnasium's bodies of MuJoCo, by the camera that follows them. Imports MuJoCo."""

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from envs import gl
from envs.checks import check_render_quality

TRACK = "track"
"""The camera of that name in their models keeps beside the body."""
LEFT_OUT = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE)


class BodyCamera:
    """Draws square pictures of environments of one body.

    Nothing is set up before the first picture. ``lite`` leaves out shadows, reflections, haze and multisampling, as
    :class:`envs.rendering.Renderer` does.

    Args:
        size: side of a picture in pixels.
        quality: ``full`` or ``lite``.

    Raises:
        UserError: the quality is unknown.
    """

    def __init__(self, size: int, quality: str = "full") -> None:
        check_render_quality(quality)
        self._size, self._lite = size, quality == "lite"
        self._renderer: mujoco.Renderer | None = None

    def frame(self, env: gymnasium.Env) -> NDArray[np.uint8]:
        """The present view of ``env``, (size, size, 3), a fresh array.

        Raises:
            UserError: nothing can be rendered here.
        """
        body = env.unwrapped
        if self._renderer is None:
            gl.choose_backend()
            self._renderer = self._made(body.model)  # type: ignore[attr-defined]
        self._renderer.update_scene(body.data, TRACK)  # type: ignore[attr-defined]
        for flag in LEFT_OUT if self._lite else ():
            self._renderer.scene.flags[flag] = 0
        return self._renderer.render().copy()

    def close(self) -> None:
        """Frees the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _made(self, model: mujoco.MjModel) -> mujoco.Renderer:
        visual = model.vis
        visual.global_.offwidth = visual.global_.offheight = self._size
        if self._lite:
            visual.quality.offsamples = visual.quality.shadowsize = 0
            visual.quality.numslices, visual.quality.numstacks = 12, 8
        return mujoco.Renderer(model, self._size, self._size)
