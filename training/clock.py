"""How far a run is, in steps, in frames, and in the unit its length is given in."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Counts steps: agent steps over all environments, or updates where there are none."""

    key: str
    """The setting that gives the length."""
    unit: str
    """What that counts: frames, steps or updates."""
    steps: int
    """Length of the run in steps."""
    frames: int = 1
    """Simulator control steps in a step, which logs and files count in; 1 where nothing is simulated."""
    step: int = 0
    """Steps so far."""

    @property
    def frame(self) -> int:
        """Frames so far."""
        return self.step * self.frames

    @property
    def last_frame(self) -> int:
        """Frames at the end of the run."""
        return self.steps * self.frames

    @property
    def over(self) -> bool:
        """Whether the run has its length."""
        return self.step >= self.steps

    @property
    def counted(self) -> str:
        """One of what logs and files count."""
        return "update" if self.unit == "updates" else "frame"

    @property
    def length(self) -> str:
        """As the user gave it, up to a whole step: ``num_train_frames=4000``."""
        return f"{self.key}={self.last_frame if self.unit == 'frames' else self.steps}"

    def __str__(self) -> str:
        """``4000 frames``, ``500 steps (4000 frames)``."""
        if self.unit == "frames":
            return f"{self.frame} frames"
        return f"{self.step} {self.unit}" + (f" ({self.frame} frames)" if self.frames > 1 else "")
