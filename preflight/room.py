"""Is there room for what a run will need (``preflight/forecast.py``)? On the disks, in memory, on the GPU.

Notes have their keys in backquotes, see :class:`utils.settings.SettingError`.
"""

from pathlib import Path

import torch

from preflight.forecast import Forecast
from replay import check_disk
from replay.files import free_bytes, readable
from utils.device import resolve_device
from utils.latest import CONFIG_FILE
from utils.settings import SettingError

TIGHT = 0.1
"""Share of the free disk that should be left."""


def short_of(need: Forecast, run_dir: Path) -> list[str]:
    """Notes on what is tight for a run in ``run_dir``, which may exist (then what it holds counts as free).

    Raises :class:`UserError` when a disk cannot take the run.
    """
    return disk_notes(need, run_dir) + memory_notes(need, goes_on(run_dir))


def goes_on(run_dir: Path | None) -> bool:
    """Whether there is a run in ``run_dir``: it keeps its sizes, so nobody is told to change them."""
    return run_dir is not None and (run_dir / CONFIG_FILE).is_file()


def disk_notes(need: Forecast, run_dir: Path) -> list[str]:
    """Notes on disks of which less than ``TIGHT`` of what is free now would be left. Raises as :func:`short_of`."""
    kept = goes_on(run_dir)
    besides = need.disk - need.replay
    if need.layout is not None:
        check_disk(run_dir / "replay", need.layout, need.replay, kept, besides, need.episode_records)
    capacity = None if need.layout is None else f"`replay.capacity`={need.layout.capacity}: "
    sized = need.layout is not None or need.converted > 0
    lower = " or lower `replay.capacity`" if sized else ""
    notes = []
    for folder, wanted in _by_disk(need, run_dir).items():
        free = free_bytes(folder) + (_present(run_dir) if folder == run_dir else 0)
        if wanted > free:
            fix = (
                "move the run folder to another disk and go on there, choose another snapshot_base_dir or shorten the "
                "run."
                if kept
                else f"choose a folder on another disk (hydra.run.dir, `snapshot_base_dir`), shorten the run{lower}."
            )
            raise SettingError(
                f"{capacity or ''}the run needs {readable(wanted)} in {folder} "
                f"({_parts(need)}), and {readable(free)} are free. Free some space, {fix}"
            )
        if free - wanted < TIGHT * free:
            notes.append(
                f"disk: the run needs {readable(wanted)} in {folder}, and {readable(free)} are free; "
                f"{readable(free - wanted)} will be left. Free some space, or "
                + ("shorten the run." if kept or not sized else "lower `replay.capacity`.")
            )
    return notes


def memory_notes(need: Forecast, kept: bool = False) -> list[str]:
    """A note when less memory is available than the run will take; none where that cannot be read. ``kept``: it goes
    on, with the sizes it has.

    Raises :class:`UserError` when a GPU cannot take the replay's copy, or the machine has not half of what it will
    take: that is beyond what a forecast may be wrong by.
    """
    notes = ring_notes(need, kept)
    available, installed = available_memory(), installed_memory()
    if installed is not None and need.ram > 2 * installed:
        raise SettingError(
            f"the run takes about {readable(need.ram)} of memory, and this machine has {readable(installed)} in all. "
            + (
                "Go on with it on a larger one."
                if kept
                else f"Lower the sizes of the networks, {_listed(need)}, or choose preset=small."
            )
        )
    if available is None or need.ram <= available:
        return notes
    fix = "or go on with it on a larger machine" if kept else f"lower {_listed(need)}, or choose preset=small"
    return [
        *notes,
        f"memory: the run takes about {readable(need.ram)}, and {readable(available)} are available. Stop other "
        f"programs, {fix}.",
    ]


def ring_notes(need: Forecast, kept: bool = False) -> list[str]:
    """A note when a GPU can take the replay's copy, but not what the agent needs besides. ``kept`` as above.

    Raises :class:`UserError` when it cannot take the copy, or is not there.
    """
    if need.ring_on is None or not need.ring_on_gpu:
        return []
    resolve_device(str(need.ring_on), "replay.device")
    free, _ = torch.cuda.mem_get_info(need.ring_on)
    what = f"`replay.device`={need.ring_on}: the replay's copy"
    if need.ring > free:
        raise SettingError(
            f"{what} needs {readable(need.ring)} on the GPU, and {readable(free)} are free. "
            "Use replay.device=null (replay.prefetch=true hides most of what the files cost)"
            + ("." if kept else ", or lower `replay.capacity`.")
        )
    if need.shares_gpu and need.gpu > free:
        return [
            f"memory: {what} and the agent take about {readable(need.gpu)} on the GPU, and {readable(free)} are free. "
            "Use replay.device=null" + ("." if kept else ", lower `replay.capacity`, or lower batch_size.")
        ]
    return []


def _listed(need: Forecast) -> str:
    """The settings that memory grows with, as text."""
    return " or ".join(f"`{key}`" for key in need.growing)


TABLE = Path("/proc/meminfo")
"""Linux's; where it is missing nothing is known."""


def available_memory(table: Path = TABLE) -> int | None:
    """Bytes that programs can still get without swapping (MemAvailable); None where there is no such table."""
    return _entries(table).get("MemAvailable")


def installed_memory(table: Path = TABLE) -> int | None:
    """Bytes of memory and swap space; None where there is no such table."""
    entries = _entries(table)
    return entries["MemTotal"] + entries.get("SwapTotal", 0) if "MemTotal" in entries else None


def _entries(table: Path) -> dict[str, int]:
    """Bytes by name."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _by_disk(need: Forecast, run_dir: Path) -> dict[Path, int]:
    """Bytes wanted of each disk, by the first of the folders on it."""
    wanted = [(run_dir, need.run_folder)]
    if need.snapshot_dir is not None and need.marks:
        wanted.append((need.snapshot_dir, need.snapshots))
    if need.cache is not None and need.converted:
        wanted.append((need.cache, need.converted))
    found: dict[Path, int] = {}
    for folder, size in wanted:
        disk = _existing(folder).stat().st_dev
        first = next((known for known in found if _existing(known).stat().st_dev == disk), folder)
        found[first] = found.get(first, 0) + size
    return found


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _present(run_dir: Path) -> int:
    """Bytes of the files of a run to be resumed that it will go on using or replace."""
    files = [*(run_dir / "replay").glob("stream_*/segment_*.bin"), run_dir / "checkpoint.pt"]
    return sum(path.stat().st_size for path in files if path.is_file())


def _parts(need: Forecast) -> str:
    parts = {
        "replay": need.replay,
        "the data set as it is converted": need.converted,
        "checkpoint, twice while it is written": 2 * need.checkpoint,
        f"{len(need.marks)} snapshots": need.snapshots,
        f"{need.own_snapshots} snapshots in the run folder": need.own_snapshots * need.snapshot,
    }
    return ", ".join(f"{name}: {readable(size)}" for name, size in parts.items() if size)
