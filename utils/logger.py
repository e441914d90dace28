"""The one place a run's numbers go to: console, CSV, TensorBoard, wandb.

How a training loop uses it::

    with Logger(run_dir, use_tb=True, use_wandb=False, action_repeat=2, total_frames=2_000_010, layout=...) as logger:
        metrics = agent.update(batch)                     # every update: no waiting for the device
        logger.log_metrics(metrics, "train")
        if frame % log_every_frames == 0:                 # curves of single updates
            logger.write_scalars(frame, metrics, "train")
        if episode_ended:                                 # one CSV row and console line
            logger.log("episode_reward", episode_reward, "train")
            logger.dump(step, "train")
        logger.tick(frame)
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml
from torch import Tensor

from utils.console import Console
from utils.csv_log import CsvLog
from utils.log_layout import LogLayout
from utils.meters import Meters, read
from utils.sink import Sink
from utils.tensorboard_log import TensorBoardLog
from utils.video import Frames, save_video
from utils.wandb_log import WandbLog

Prefix = Literal["train", "eval"]


class Logger:
    """Collects metrics and writes ``train.csv``, ``eval.csv``, ``tb/``, ``videos/`` and ``wandb/`` in ``run_dir``.

    Args:
        run_dir: the run folder; made if missing. Files already there are continued.
        use_tb: write TensorBoard event files.
        use_wandb: log to wandb; ``wandb_settings`` are the arguments of ``wandb.init`` (see ``wandb_log``).
        config: the settings, in plain values, as TensorBoard shows them.
        published: what the user calls a setting, by its internal name.
        action_repeat: frames per agent step.
        total_frames: length of the run, in frames, for the progress bar.
        progress: draw a progress bar on stderr; None: only on a terminal.
        layout: the columns that are always there, and what the console line shows.
        clock: seconds from any origin; tests put their own.

    Raises:
        UserError: TensorBoard or wandb is asked for and missing, or wandb has no login. What goes wrong with them later
            is told once and ends nothing; only the CSVs have to be written.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        use_tb: bool,
        use_wandb: bool,
        wandb_settings: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        published: Callable[[str], str] = str,
        action_repeat: int,
        total_frames: int,
        layout: LogLayout,
        progress: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._action_repeat = action_repeat
        self._clock = clock
        self._start = clock()
        self._last_frame, self._last_time, self._last_fps = 0, 0.0, 0.0  # of the previous train row; elapsed seconds
        self._meters = {prefix: Meters() for prefix in layout.columns}
        self._streamed: dict[str, set[str]] = {prefix: set() for prefix in layout.columns}
        self._csv = {
            prefix: CsvLog(self.run_dir / f"{prefix}.csv", columns) for prefix, columns in layout.columns.items()
        }
        self._console = Console(total_frames, layout, progress)
        intro = {} if config is None else {"config": as_text(config)}
        self._tensorboard = TensorBoardLog(self.run_dir / "tb", intro) if use_tb else None
        self._wandb = WandbLog(self.run_dir, wandb_settings or {}) if use_wandb else None
        switches = {"a video": "save_video", "TensorBoard": "use_tb", "wandb": "use_wandb"}
        self._to = {name: Sink(name, f"{published(key)}=false", self.say) for name, key in switches.items()}
        self._closed = False

    @property
    def elapsed(self) -> float:
        """Seconds this run has taken, those before a resume included."""
        return self._clock() - self._start

    def log_metrics(self, metrics: Mapping[str, float | Tensor], prefix: Prefix) -> None:
        """Add values to the means of the next ``dump``. Tensors (0-dim) are not read: this never waits for the device.

        Raises:
            ValueError: a tensor is not one number.
        """
        self._meters[prefix].add(metrics)

    def log(self, key: str, value: float | Tensor, prefix: Prefix) -> None:
        """Add one value, for instance an episode's return; values of several episodes are averaged."""
        self._meters[prefix].add({key: value})

    def dump(self, step: int, prefix: Prefix) -> dict[str, float]:
        """Write the means since the last dump: CSV row, console line, TensorBoard and wandb scalars. Returns the row.

        ``step`` counts agent steps; frame, step, total_time and (train) fps are filled in here. TensorBoard and wandb
        do not get the keys ``write_scalars`` has been given: these curves have their points already.
        """
        frame = step * self._action_repeat
        meters = self._meters[prefix]
        row = meters.means() | {"frame": frame, "step": step, "total_time": round(self.elapsed, 3)}
        meters.clear()
        if prefix == "train":
            row.setdefault("fps", self._fps(frame))
        self._csv[prefix].append(row)
        self._console.line(prefix, row)
        self._send(frame, prefix, {key: row[key] for key in sorted(set(row) - self._streamed[prefix] - {"frame"})})
        return row

    def write_scalars(self, frame: int, metrics: Mapping[str, float | Tensor], prefix: Prefix | Literal[""]) -> None:
        """Send values to TensorBoard and wandb at once, not to the CSV: the published ``log_every_frames`` curves.

        Waits for the device once. ``prefix=""`` leaves the keys as they are (``eval_total_time``).
        """
        if prefix:
            self._streamed[prefix].update(metrics)
        if metrics and (self._tensorboard is not None or self._wandb is not None):
            self._send(frame, prefix, read(metrics))

    def log_video(
        self, frame: int, key: str, frames: Frames, prefix: Prefix, fps: float = 15, path: Path | None = None
    ) -> Path | None:
        """Save ``frames`` uint8 (T, H, W, 3) as ``videos/<prefix>_<key>_<frame>.mp4``; TensorBoard and wandb show it as
        ``<prefix>/<key>_video``, which no scalar is called.

        Returns the file's path (a .gif where there is no ffmpeg), None if it could not be written. ``path`` replaces
        the usual one.
        """
        name = f"{prefix}_{key}_{frame}.mp4".replace("/", "_")
        tag, saved = f"{prefix}/{key}_video", None
        with self._to["a video"]:
            saved = save_video(frames, path or self.run_dir / "videos" / name, fps)
        if self._tensorboard is not None:
            with self._to["TensorBoard"]:
                self._tensorboard.video(frame, tag, frames, fps)
        if self._wandb is not None:
            with self._to["wandb"]:
                self._wandb.video(tag, saved, frames, fps, {f"{prefix}/frame": frame})
        return saved

    def follow(self, says: Callable[[], str]) -> None:
        """Show behind the progress bar what ``says`` returns; it is called from another thread, too."""
        self._console.says = says

    def tick(self, frame: int) -> None:
        """Move the progress bar, or where there is none, say now and then where the run is; cheap enough for every
        step.
        """
        self._console.tick(frame)

    def say(self, text: str) -> None:
        """Print a line to stdout without tearing the progress bar."""
        self._console.say(text)

    def truncate(self, frame: int) -> None:
        """Take back what was logged beyond ``frame``, for a run that goes on from there (-1: from the beginning)."""
        for log in self._csv.values():
            log.truncate(frame)
        if self._tensorboard is not None:
            with self._to["TensorBoard"]:
                self._tensorboard.truncate(frame)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint, after making sure that all rows so far are on the disk."""
        self.flush()
        return {
            "elapsed": self.elapsed,
            "last_row": [self._last_frame, self._last_time, self._last_fps],
            "meters": {prefix: meters.state_dict() for prefix, meters in self._meters.items()},
            "streamed": {prefix: sorted(keys) for prefix, keys in self._streamed.items()},
            "rows": {prefix: len(log) for prefix, log in self._csv.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint: clock, unfinished means, and the CSVs cut to the rows they had then."""
        self._start = self._clock() - state["elapsed"]
        self._last_frame, self._last_time, self._last_fps = state["last_row"]
        for prefix in self._meters:
            self._meters[prefix].load_state_dict(state["meters"][prefix])
            self._streamed[prefix] = set(state["streamed"][prefix])
            self._csv[prefix].truncate_rows(state["rows"][prefix])

    def flush(self) -> None:
        """Wait until the CSVs are on the disk."""
        for log in self._csv.values():
            log.flush()

    def close(self, exit_code: int = 0) -> None:
        """Finish all files; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._console.close()
        for log in self._csv.values():
            log.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            with self._to["wandb"]:
                self._wandb.close(exit_code)

    def __enter__(self) -> "Logger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(exit_code=int(kind is not None))

    def _fps(self, frame: int) -> float:
        """Frames per second since the previous train row; episodes that end at the same frame share a value."""
        now = self.elapsed
        if frame > self._last_frame and now > self._last_time:
            self._last_fps = (frame - self._last_frame) / (now - self._last_time)
            self._last_frame, self._last_time = frame, now
        return self._last_fps

    def _send(self, frame: int, prefix: str, values: Mapping[str, float]) -> None:
        tags = {f"{prefix}/{key}" if prefix else key: value for key, value in values.items()}
        if self._tensorboard is not None:
            with self._to["TensorBoard"]:
                self._tensorboard.scalars(frame, tags)
        if self._wandb is not None:
            with self._to["wandb"]:
                self._wandb.scalars(tags | ({f"{prefix}/frame": frame} if prefix else {"frame": frame}))


def as_text(config: Mapping[str, Any]) -> str:
    """The settings as YAML in Markdown, which TensorBoard shows."""
    lines = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).splitlines()
    return "\n".join(f"    {line}" for line in lines)
