"""Scalars, videos and text for TensorBoard, with the frame counter as x axis."""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.settings import SettingError
from utils.video import Frames, encode_gif

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

MOST_FRAMES = 128
"""Of one video: event files are loaded whole, and an episode of 500 frames would weigh megabytes."""


class TensorBoardLog:
    """Event files in ``folder``; the file is opened by the first value, after a resumed run has said where it stands.

    What is written is in the file, or an OSError raised, when a method returns: torch's ``SummaryWriter`` leaves it to
    a thread, which dies of a full disk with a traceback and takes the last values along. After an error the next value
    opens another file.

    Args:
        folder: made by the first value.
        intro: texts by tag, written at the start of every file.

    Raises:
        SettingError: the tensorboard package is missing or broken.
    """

    def __init__(self, folder: Path, intro: Mapping[str, str] | None = None) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except Exception as error:  # of versions that do not go together, whatever
            raise SettingError(
                f"`use_tb`=true needs TensorBoard, which cannot be imported ({error}): pip install tensorboard, "
                "or set `use_tb`=false."
            ) from error
        self._folder = Path(folder)
        self._intro = dict(intro or {})
        self._purge_step: int | None = None
        self._file: _EventFile | None = None

    def truncate(self, frame: int) -> None:
        """Let readers discard what earlier event files hold beyond ``frame``."""
        self.close()
        if self._folder.exists():
            self._purge_step = frame + 1

    def scalars(self, frame: int, values: Mapping[str, float]) -> None:
        """Write each value under its full tag (``train/actor_loss``)."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        items = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
        self._write(frame, Summary(value=items))

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
        self._write(frame, Summary(value=[Summary.Value(tag=tag, image=image)]))

    def close(self) -> None:
        """Close the event file; a later value opens another one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, frame: int, summary: "Summary") -> None:
        if self._file is None:
            self._file = self._open()
        try:
            self._file.add(step=frame, summary=summary)
        except OSError:
            self.close()
            raise

    def _open(self) -> "_EventFile":
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from torch.utils.tensorboard.summary import text

        self._folder.mkdir(parents=True, exist_ok=True)
        # Readers take event files in the order of their names, which count whole seconds; within one second the
        # order may be wrong, and a purge would then not reach what it is to discard.
        while any(self._folder.glob(f"events.out.tfevents.{int(time.time())}.*")):
            time.sleep(0.05)
        file = _EventFile(self._folder)
        try:
            file.add(file_version="brain.Event:2")
            if self._purge_step is not None:
                file.add(step=self._purge_step, file_version="brain.Event:2")
                file.add(step=self._purge_step, session_log=SessionLog(status=SessionLog.START))
            for tag, words in self._intro.items():
                file.add(step=self._purge_step or 0, summary=text(tag, words))
        except OSError:
            file.close()
            file.path.unlink()
            raise
        self._purge_step = None
        return file


class _EventFile:
    """A new event file in ``folder``, under the name that TensorBoard looks for."""

    _numbers = itertools.count()

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(self._numbers)}"
        self.path = folder / f"events.out.tfevents.{name}"
        self._file = self.path.open("wb")
        self._records = RecordWriter(self._file)

    def add(self, **content: Any) -> None:
        """Append one event, the fields of TensorBoard's ``Event``, and hand it to the operating system."""
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Close it, if need be without what could not be written."""
        with suppress(OSError):
            self._file.close()
