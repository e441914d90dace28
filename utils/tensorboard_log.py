"""Scalars and videos for TensorBoard, with the frame counter as x axis."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from utils.settings import SettingError
from utils.video import Frames, encode_gif

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MOST_FRAMES = 128
"""Of one video: event files are loaded whole, and an episode of 500 frames would weigh megabytes."""


class TensorBoardLog:
    """Event files in ``folder``; the file is opened by the first value, after a resumed run has said where it stands.

    Raises:
        UserError: the tensorboard package is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise SettingError(
                "`use_tb`=true needs TensorBoard: pip install tensorboard, or set `use_tb`=false."
            ) from error
        self._folder = Path(folder)
        self._purge_step: int | None = None
        self._writer: SummaryWriter | None = None

    def truncate(self, frame: int) -> None:
        """Let readers discard what earlier event files hold beyond ``frame``."""
        self.close()
        if self._folder.exists():
            self._purge_step = frame + 1

    def scalars(self, frame: int, values: Mapping[str, float]) -> None:
        """Write each value under its full tag (``train/actor_loss``)."""
        writer = self._open()
        for tag, value in values.items():
            writer.add_scalar(tag, value, frame)

    def video(self, frame: int, tag: str, frames: Frames, fps: float) -> None:
        """Write ``frames`` uint8 (T, H, W, 3) as an image that moves; long ones are thinned to ``MOST_FRAMES``.

        torch's own ``add_video`` needs moviepy 1 and with moviepy 2 writes a warning only; TensorBoard's image page
        shows any GIF, so no more is needed.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        length, height, width, _ = frames.shape
        stride = -(-length // MOST_FRAMES)
        gif = encode_gif(frames[::stride], fps / stride)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        # SummaryWriter itself has no method for an image that is already encoded.
        file_writer = self._open()._get_file_writer()  # type: ignore[no-untyped-call]
        file_writer.add_summary(summary, frame)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the event file; a later value opens another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # Readers take event files in the order of their names, which count whole seconds; within one second the
            # order may be wrong, and a purge would then not reach what it is to discard.
            while any(self._folder.glob(f"events.out.tfevents.{int(time.time())}.*")):
                time.sleep(0.05)
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
            self._purge_step = None
        return self._writer
