"""Weights & Biases, imported only when it is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.atomic import atomic_path
from utils.errors import UserError


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
    ``pt_<agent>_<domain>_<obs_type>_<seed>`` or ``ft_<agent>_<task>_<obs_type>_<seed>``.

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
            error, video = wandb.Error, wandb.Video
        except (ImportError, AttributeError) as missing:
            raise UserError(
                "use_wandb=true needs the wandb package: pip install wandb, or set use_wandb=false."
            ) from missing
        self._make_video = video
        id_file = Path(run_dir) / "wandb_run_id"
        arguments: dict[str, Any] = {"dir": str(run_dir), **settings}
        if "id" not in arguments and id_file.is_file():
            arguments |= {"id": id_file.read_text(encoding="utf-8").strip(), "resume": "allow"}
        try:
            self._run = wandb.init(**arguments)
        except error as refused:
            raise UserError(
                f"use_wandb=true, but wandb did not start: {refused} "
                "Run `wandb login` once, or export WANDB_MODE=offline to log without an account, "
                "or set use_wandb=false."
            ) from refused
        for prefix in ("train", "eval"):  # plots against frames; wandb's own counter counts calls
            self._run.define_metric(f"{prefix}/frame")
            self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/frame")
        with atomic_path(id_file) as temporary:
            temporary.write_text(self._run.id + "\n", encoding="utf-8")

    def scalars(self, values: Mapping[str, float]) -> None:
        """Log each value under its full key; ``train/frame`` or ``eval/frame`` should be among them."""
        self._run.log(dict(values))

    def video(self, key: str, path: Path, values: Mapping[str, float]) -> None:
        """Log the video file ``path`` (mp4 or gif): wandb would need moviepy to encode an array itself."""
        self._run.log({key: self._make_video(str(path)), **values})

    def close(self, exit_code: int = 0) -> None:
        """Finish the run; a non-zero code marks it as crashed."""
        self._run.finish(exit_code=exit_code)
