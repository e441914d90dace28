"""Builds what a run on a data set is made of from its settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agents.agent import Agent, Phase
from replay.converted import Conversion, default_cache
from replay.exorl import Progress
from replay.files import readable
from replay.records import record_spec
from replay.replay import Replay
from training.datasets import convert, data_of, open_data, sizes_of, unconverted
from training.interrupt import StopSignal
from training.offline_settings import OfflineKeys
from training.parts import REPLAY, build_agent, outline_agent, plain_spec
from utils.compile import compile_agent
from utils.console import Console
from utils.errors import UserError
from utils.log_layout import LogLayout
from utils.seeding import derive, seed_everything

FILES = LogLayout(columns={}, fields={}, width=0, unit="file")
"""Of what is shown while files are converted."""


class OfflineParts(NamedTuple):
    """Agent and data, and what is said of them."""

    agent: Agent
    replay: Replay
    """The data, which nobody adds to; they do not lie in the run folder."""
    data: Conversion
    """Where they come from."""
    spec: dict[str, Any]
    """As that of :class:`training.parts.Parts`."""
    notes: list[str]
    """What the user should know."""
    lineage: list[dict[str, Any]]
    """Empty: there is no snapshot to start from."""

    def abandon(self) -> None:
        """Nothing was made in the folder of a run that does not begin; what was converted serves the next one."""

    def close(self) -> None:
        """There is nothing to end."""


def build_offline(
    settings: OfflineKeys, run_dir: Path, phase: Phase, device: torch.device, source: None = None
) -> OfflineParts:
    """The data, converted unless they are, and the agent, seeded by ``settings.seed``. Raises :class:`UserError`."""
    data = data_of(settings)
    with _shown(settings, data) as progress:
        folder = convert(settings, data, progress)
    seed, sizes = settings.seed, data.sizes
    seed_everything(seed)
    agent = build_agent(settings, (sizes.observation,), sizes.action, phase, device)
    if agent.recorded.dim:
        raise UserError(f"agent={agent.name} records skills, and data that others have collected hold none.")
    notes = compile_agent(agent, settings.compile)
    replay = open_data(settings, folder, derive(seed, REPLAY), device)
    spec = plain_spec(record_spec((sizes.observation,), "float32", sizes.action, 0, None))
    return OfflineParts(agent, replay, data, spec, notes, [])


def outline_offline_agent(settings: OfflineKeys, phase: Phase) -> Agent:
    """As :func:`training.parts.outline_agent`."""
    sizes = sizes_of(settings)
    return outline_agent(settings, (sizes.observation,), sizes.action, phase)


@contextmanager
def _shown(settings: OfflineKeys, data: Conversion) -> Iterator[Progress]:
    """What to tell of files that are converted: a bar, or lines, as of a run. A stop signal ends it between two."""
    stop, total = StopSignal.standing(lambda: "this file"), len(data.files)
    console = Console(total, FILES, None if settings.progress == "auto" else settings.progress)
    if unconverted(data):
        size, cache = readable(data.nbytes), default_cache()
        console.say(f"data: {total:,} files of {data.source} are converted once, {size} in {cache}")

    def progress(done: int, of: int) -> None:
        console.tick(done)
        stop.check()

    try:
        yield progress
    finally:
        console.close()
