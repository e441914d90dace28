"""Data that others have collected: where it lies, what of it a run takes, and the replay that is made of it."""

from pathlib import Path

import torch

from envs.make import body
from envs.relabel import relabeller
from replay.checksum import Say
from replay.converted import Conversion, conversion, converted, default_cache, open_converted
from replay.exorl import Progress, Sizes
from replay.replay import Replay
from training.offline_settings import OfflineKeys
from training.parts import ring_device
from utils.errors import UserError


def data_of(settings: OfflineKeys) -> Conversion:
    """What a run takes of its data set. Only names, sizes and times of files are looked at.

    Raises :class:`UserError` where there is none, naming those that are there.
    """
    _check_there(settings)
    return conversion(
        settings.source,
        domain=settings.domain,
        sizes=sizes_of(settings),
        capacity=settings.replay.capacity,
        label=settings.relabel_task or "",
    )


def sizes_of(settings: OfflineKeys) -> Sizes:
    """Of a row of data of the domain, in the variant of the data set."""
    moved = body(settings.task, settings.exorl)
    return Sizes(moved.observed, moved.actions, moved.state or 0)


def unconverted(data: Conversion) -> int:
    """Bytes that the cache folder has yet to take; 0 where the data lie there already."""
    return 0 if (default_cache() / data.name).is_dir() else data.nbytes


def convert(settings: OfflineKeys, data: Conversion, progress: Progress, say: Say = print) -> Path:
    """The folder of ``data`` as a replay of ours; made now, unless it is there. Raises :class:`UserError`."""
    relabel = None if settings.relabel_task is None else relabeller(settings.relabel_task, settings.exorl)
    return converted(data, default_cache(), relabel=relabel, progress=progress, say=say)


def open_data(settings: OfflineKeys, folder: Path, seed: int, device: torch.device, say: Say = print) -> Replay:
    """A converted folder as the replay that the run draws from. Raises :class:`UserError` where it is damaged."""
    prefetch = settings.replay.prefetch
    return open_converted(
        folder,
        batch_size=settings.batch_size,
        **settings.drawn,
        seed=seed,
        device=device,
        prefetch=device.type == "cuda" if prefetch is None else prefetch,
        ring=ring_device(settings, device),
        verify=settings.replay.verify,
        say=say,
    )


def _check_there(settings: OfflineKeys) -> None:
    """Raise unless there is the folder that settings name; where others lie beside it, those are named."""
    folder, method = settings.source, settings.collection_method
    if folder.is_dir():
        return
    place = folder.parent.parent if folder.parent.name == method else None
    there = [] if place is None else sorted(path.name for path in place.glob("*") if (path / folder.name).is_dir())
    if there:
        raise UserError(
            f"collection_method={method}: there is no {folder}. In {place} there are {', '.join(there)}: choose one of "
            "them, or name another folder with dataset_dir=<folder>."
        )
    raise UserError(
        f"dataset_dir={folder}: there is no such folder. Unpack {settings.dataset}'s {settings.domain}/{method}.zip "
        "such that its episodes lie there, or name the folder that has them with dataset_dir=<folder>."
    )
