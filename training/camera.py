"""Pictures of an environment whose observations are no images, for videos."""

from collections.abc import Callable

import gymnasium
import numpy as np

from utils.errors import UserError


class Camera:
    """Looks at ``env`` when it is called: uint8 (H, W, 3).

    A renderer that fails ends no run: with ``say`` it is told once, and from then on there is nothing to be seen, None.
    Without, :class:`UserError` is raised.
    """

    def __init__(self, env: gymnasium.Env, say: Callable[[str], None] | None = None) -> None:
        self.env, self.say = env, say
        self.broken = False

    def __call__(self) -> np.ndarray | None:
        if self.broken:
            return None
        try:
            picture = np.asarray(self.env.render())
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
                raise ValueError(f"render() gave {picture.dtype} {picture.shape}, no picture uint8 (H, W, 3)")
        except Exception as error:  # whatever a driver, or an environment of the user's own, comes up with
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if self.say is None:
                raise UserError(f"the environment cannot be drawn ({reason}). Ask for no pictures.") from error
            self.broken = True
            self.say(f"note: no videos from here on, the environment cannot be drawn ({reason}); the run goes on")
            return None
        return picture
