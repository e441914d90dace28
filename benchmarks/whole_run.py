"""A real pre-training run, timed from its first updates on; see ``benchmarks/end_to_end.py``.

The run is that of ``dreamer_pretrain.py``, with its replay, its CSVs and its looks at every loss, in a temporary
folder. Evaluations, videos, snapshots, checkpoints by the clock and TensorBoard are left out: pauses, whose number and
length are settings.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import arguments
from benchmarks.clock import clock_of
from benchmarks.machine import describe, provenance
from benchmarks.pretraining import read
from benchmarks.stages import REST, splitting
from benchmarks.tables import markdown
from benchmarks.utilisation import watched
from entry.settings import composed
from entry.start import assemble
from preflight.forecast import forecast
from preflight.room import short_of
from training.layouts import DREAMER
from training.off_policy import OffPolicyRun
from training.parts import build, env_sizes
from training.settings import PretrainKeys
from utils.config import put
from utils.device import resolve_device
from utils.errors import UserError, exit_status
from utils.heap import keep_freed_memory
from utils.logger import Logger
from utils.report import write_json
from utils.rules import COUNT, FLAG, TEXT, optional, shown

PARTS = {
    "environments": (
        "collector.envs.reset",
        "collector.envs.step",
        "collector.envs.step_async",
        "collector.envs.step_wait",
    ),
    "act": ("agent.act", "agent.begin"),
    "replay": ("replay.sample", "replay.add"),
    "learn": ("learner.update",),
}
"""Of an iteration: stage -> the calls that make it up.

``environments``: what the loop waits for them, in this process all they do; ``learn``: the update, the copy it can be
taken back to, and the look at its losses, which waits for the device; batches drawn meanwhile are ``replay``.
"""

STAGES = (*PARTS, REST)

NEVER = 10**12
"""Frames, or minutes."""

FIXED: dict[str, Any] = {
    "resume": None,
    "evaluate": False,
    "save_video": False,
    "recon_every_frames": NEVER,
    "snapshots": [],
    "checkpoint_every_minutes": NEVER,
    "use_tb": False,
    "use_wandb": False,
    "progress": False,
}
"""Keys that are not the user's here; ``LENGTH`` is another one."""

LENGTH = "num_train_frames"

PUBLISHED = {"num_envs": 1, "collect.async": False, "collect.workers": None, "compile": "off"}
"""Of the baseline: how ``dreamer_pretrain.py`` runs if nothing is said."""

WARM_UP = 5
"""Updates before the first timed frame: libraries set themselves up, and what is compiled or captured is, in these."""

BASELINE, ASKED = "baseline", "as asked"


def settings(overrides: Sequence[str], frames: int, changes: Mapping[str, Any]) -> PretrainKeys:
    """The settings of ``dreamer_pretrain.py`` with ``overrides``, then ``changes``, then ``FIXED``.

    Updates begin when every environment has finished its first episode (``num_seed_frames``, unless given), and the run
    is long enough for ``frames`` twice. Raises :class:`UserError`.
    """
    given = [arguments.key_of(word) for word in overrides]
    for word, key in zip(overrides, given, strict=True):
        if key in (*FIXED, LENGTH):
            instead = "Give frames=<n>, those that are timed." if key == LENGTH else "Leave it out."
            raise UserError(f"{shown(word)}: this benchmark sets {key} itself. {instead}")
    plain = composed("pretrain", overrides)
    for key, value in {**changes, **FIXED}.items():
        put(plain, key, value)
    first = read(plain)
    episodes = first.num_envs * env_sizes(first).steps * first.action_repeat
    seed_frames = first.num_seed_frames if "num_seed_frames" in given else episodes
    stride = first.num_envs * first.action_repeat
    begins = max(episodes, seed_frames) + stride
    warm = WARM_UP * max(first.train_every_actions, stride)
    length = begins + warm + stride + 2 * (frames + stride)
    return first.model_copy(update={"num_seed_frames": seed_frames, LENGTH: length})


@contextmanager
def started(settings: PretrainKeys, folder: Path, device: torch.device) -> Iterator[OffPolicyRun]:
    """A run in ``folder`` that has not begun. Raises :class:`UserError` when it cannot be had."""
    notes = short_of(forecast(settings, "pretrain"), folder)
    parts = build(settings, folder, "pretrain", device)
    try:
        with Logger(
            folder,
            use_tb=False,
            use_wandb=False,
            action_repeat=settings.action_repeat,
            total_frames=settings.frames,
            progress=False,
            layout=DREAMER,
        ) as logger:
            run = assemble("pretrain", settings, folder, parts, logger, {})
            assert isinstance(run, OffPolicyRun)
            run.notes = [*notes, *run.notes]
            yield run
    finally:
        parts.close()


class Stretch(NamedTuple):
    """A part of a run."""

    seconds: float
    frames: int
    updates: int

    @property
    def frames_per_second(self) -> float:
        """Of wall time."""
        return self.frames / self.seconds


def warm_up(run: OffPolicyRun) -> None:
    """The seed phase and the first updates."""
    while run.updates < WARM_UP:
        run.iterate()


def advance(run: OffPolicyRun, frames: int, clock: Callable[[], float]) -> Stretch:
    """Whole iterations of ``run`` for ``frames`` more frames, or a few above."""
    frame, updates, start = run.frame, run.updates, clock()
    while run.frame - frame < frames:
        run.iterate()
    return Stretch(clock() - start, run.frame - frame, run.updates - updates)


def measure(
    variant: str, settings: PretrainKeys, frames: int, folder: str | None, device: torch.device
) -> dict[str, Any]:
    """One row: a run of its own, ``frames`` of it untouched, and as many again that are split into stages."""
    gc.collect()  # of the run before
    clock = clock_of(device)
    with tempfile.TemporaryDirectory(dir=folder) as place, started(settings, Path(place), device) as run:
        for note in run.notes:
            print(f"note: {note}", flush=True)
        with redirect_stdout(StringIO()):  # a line per episode
            warm_up(run)
            with watched(device) as utilisation:
                timed = advance(run, frames, clock)
            with splitting(run, PARTS, clock) as split:
                again = advance(run, frames, clock)
    return {
        "variant": variant,
        "num_envs": settings.num_envs,
        "async": settings.collect.overlap,
        "workers": settings.uses_workers,
        "compile": settings.compile,
        **timed._asdict(),
        "updates_per_frame": timed.updates / timed.frames,
        "frames_per_second": timed.frames_per_second,
        "gpu_utilisation": utilisation(),
        "split_frames_per_second": again.frames_per_second,
        "stages_s": split.seconds,
    }


def compare(rows: list[dict[str, Any]]) -> None:
    """Add to every row how many times the baseline's frames per second it has; None without a baseline."""
    base = next((row["frames_per_second"] for row in rows if row["variant"] == BASELINE), None)
    for row in rows:
        row["over_baseline"] = row["frames_per_second"] / base if base else None


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the rows, and that of their stages: shares of the time while it was split."""
    titles = ("run", "environments", "collecting", "compile", "frames", "updates", "updates a frame", "frames a second")
    runs = [
        [
            *(row["variant"], str(row["num_envs"]), _collecting(row), row["compile"]),
            *(str(row["frames"]), str(row["updates"]), f"{row['updates_per_frame']:.3f}"),
            f"{row['frames_per_second']:.1f}",
            "" if row["over_baseline"] is None else f"{row['over_baseline']:.2f}",
            "" if row["gpu_utilisation"] is None else f"{100 * row['gpu_utilisation']:.0f} %",
        ]
        for row in rows
    ]
    split = []
    for row in rows:
        whole = sum(row["stages_s"].values())
        shares = [f"{100 * row['stages_s'][stage] / whole:.1f} %" for stage in STAGES]
        split.append([row["variant"], *shares, f"{row['split_frames_per_second']:.1f}"])
    return "\n\n".join(
        [
            markdown((*titles, "over the baseline", "GPU busy"), runs),
            markdown(("share of the time", *STAGES, "frames a second meanwhile"), split),
        ]
    )


def _collecting(row: Mapping[str, Any]) -> str:
    """How the environments of a row are stepped."""
    return f"{'workers' if row['workers'] else 'one process'}{', async' if row['async'] else ''}"


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures, prints the tables, writes them with ``json=``. Raises :class:`UserError` before anything is built."""
    values, overrides = arguments.split(
        words,
        {"frames": 4000, "baseline": False, "folder": None},
        {"frames": COUNT, "baseline": FLAG, "folder": optional(TEXT)},
    )
    arguments.check_folder(values)
    changes: dict[str, Mapping[str, Any]] = {BASELINE: PUBLISHED} if values["baseline"] else {}
    configs = {
        variant: settings(overrides, values["frames"], change) for variant, change in {**changes, ASKED: {}}.items()
    }
    asked = configs[ASKED]
    device = resolve_device(asked.device)
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
    with arguments.threads(values["threads"]):
        where = provenance(device)
        print(f"{asked.agent.name}, {asked.task}, on {device.type}: {describe(where)}\n", flush=True)
        rows = [
            measure(variant, settled, values["frames"], values["folder"], device)
            for variant, settled in configs.items()
        ]
    compare(rows)
    print(show(rows))
    write_json(arguments.file_of(values), {"device": device.type, "overrides": overrides, "rows": rows, **where})
