"""What a run on a data set will need of disk and memory: as :mod:`preflight.forecast`, without a replay of its own."""

from pathlib import Path

from agents.agent import Phase
from preflight.forecast import HEADER_BYTES, Forecast, learner_device, outlined, size_of
from replay.converted import default_cache
from replay.ring import ring_bytes
from training.datasets import data_of, unconverted
from training.offline_settings import OfflineKeys
from training.parts import ring_device


def data_forecast(settings: OfflineKeys, phase: Phase) -> Forecast:
    """The needs of a run of ``offline_train.py``. Raises :class:`UserError` where there are no data."""
    data = data_of(settings)
    agent = outlined(settings, (data.sizes.observation,), data.sizes.action, phase)
    learner = learner_device(settings.device)
    state, folder, ring = size_of(agent.training_state()), settings.snapshot_dir, ring_device(settings, learner)
    return Forecast(
        layout=None,
        replay=0,
        replay_files=data.layout.segments,
        checkpoint=state + HEADER_BYTES,
        snapshot=size_of(agent.snapshot_modules()) + HEADER_BYTES,
        marks=tuple(mark for mark in settings.snapshots if mark <= settings.steps),
        snapshot_dir=None if folder is None else Path(folder).absolute(),
        own_snapshots=0,
        state=state,
        gradients=sum(p.nbytes for p in agent.parameters() if p.requires_grad),
        activations=agent.activation_bytes(settings.batch_size, settings.batch_length),
        on_gpu=learner.type == "cuda",
        ring=0 if ring is None else ring_bytes(data.layout, data.records),
        ring_on=ring,
        shares_gpu=ring is not None and (ring.type, ring.index or 0) == ("cuda", learner.index or 0),
        cache=default_cache(),
        converted=unconverted(data),
        growing=("batch_size", "batch_length"),
    )
