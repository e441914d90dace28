"""Weights & Biases, imported only when it is asked for."""

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.atomic import atomic_path
from utils.errors import UserError
from utils.sink import reason
from utils.video import Frames, encode_gif


def wandb_settings(
    *,
    stage: str,
    project_name: str,
    agent: str,
    domain_or_task: str,
    obs_type: str,
    seed: int,
    config: Mapping[str, Any],
    experiment: str,
) -> dict[str, Any]:
    """The published names: project ``<project_name>_<stage>``, group ``agent``, and as the run's name
    ``pt_<agent>_<domain or task>_<obs_type>_<seed>`` or ``ft_<agent>_<task>_<obs_type>_<seed>``.

    ``experiment`` is the first part of the run's name. ``config`` holds plain values.
    """
    return {
        "project": f"{project_name}_{stage}",
        "group": agent,
        "name": f"{experiment}_{agent}_{domain_or_task}_{obs_type}_{seed}",
        "config": dict(config),
    }


class WandbLog:
    """One wandb run whose files lie in ``run_dir/wandb``; ``settings`` go to ``wandb.init`` as they are.

    The run's id is kept in ``run_dir/wandb_run_id``, so a resumed run continues the same page. wandb cannot take values
    back: after a resume, those between the checkpoint and the kill appear twice (with the same frames).

    Raises:
        UserError: the package or the login is missing, or wandb refuses the settings.
    """

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb

            # A folder named wandb (its own output) can pose as an empty package when the real one is missing.
            self._make_video, self._give_up = wandb.Video, wandb.teardown
        except Exception as missing:  # of versions that do not go together, whatever
            raise UserError(
                f"use_wandb=true needs the wandb package, which cannot be imported ({reason(missing)}): "
                "pip install wandb, or set use_wandb=false."
            ) from missing
        try:
            self._run = self._start(wandb.init, Path(run_dir), settings)
        except Exception as refused:  # wandb.Error, pydantic's, those of the file system and of the network
            raise UserError(
                f"use_wandb=true, but wandb did not start: {reason(refused).rstrip('.')}. "
                "Run `wandb login` once, or export WANDB_MODE=offline to log without an account, "
                "or set use_wandb=false."
            ) from refused

    def _start(self, init: Callable[..., Any], run_dir: Path, settings: Mapping[str, Any]) -> Any:
        id_file = run_dir / "wandb_run_id"
        arguments: dict[str, Any] = {"dir": str(run_dir), **settings}
        if "id" not in arguments and id_file.is_file():
            arguments |= {"id": id_file.read_text(encoding="utf-8").strip(), "resume": "allow"}
        run = init(**arguments)
        for prefix in ("train", "eval"):  # plots against frames; wandb's own counter counts calls
            run.define_metric(f"{prefix}/frame")
            run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/frame")
        with atomic_path(id_file) as temporary:
            temporary.write_text(run.id + "\n", encoding="utf-8")
        return run

    def scalars(self, values: Mapping[str, float]) -> None:
        """Log each value under its full key; ``train/frame`` or ``eval/frame`` should be among them."""
        self._run.log(dict(values))

    def video(self, key: str, path: Path | None, frames: Frames, fps: float, values: Mapping[str, float]) -> None:
        """Log the video file ``path`` (mp4 or gif), or ``frames`` uint8 (T, H, W, 3) where that could not be written:
        wandb would need moviepy to encode an array itself.
        """
        if path is not None:
            video = self._make_video(str(path))
        else:
            video = self._make_video(io.BytesIO(encode_gif(frames, fps)), format="gif")
        self._run.log({key: video, **values})

    def close(self, exit_code: int = 0) -> None:
        """Finish the run; a non-zero code marks it as crashed."""
        try:
            self._run.finish(exit_code=exit_code)
        except Exception:
            with suppress(Exception):  # its process is gone; wandb would say so with a traceback when this one ends
                self._give_up()
            raise
