"""What a run with a checked configuration will need of disk and memory, before anything big is built.

    need = forecast(settings, "pretrain")
    notes = short_of(need, run_dir)     # preflight.room: raises UserError when the disk cannot take it

The agent is built on torch's ``meta`` device, where tensors have shapes and no memory; nothing is drawn from the random
streams. Neither MuJoCo nor a renderer is loaded, unless an environment of the user's own does so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agents.agent import Phase
from agents.settings import AgentSettings
from replay import Layout, plan
from replay.files import readable
from replay.records import record_spec
from replay.ring import ring_bytes
from training.parts import (
    build_agent,
    env_observation,
    env_sizes,
    episode_records,
    outline_agent,
    ring_device,
    total_records,
)
from training.settings import OffPolicyKeys
from utils.nested import tensors_in

HEADER_BYTES = 200_000
"""What a checkpoint or snapshot holds besides the agent's tensors: configuration, counters, random and environment
states, the table of episodes, and the format's own bytes. Measured: 0.02 to 0.1 MB.
"""

PROCESS_BYTES = 850_000_000
"""Resident memory of a process that has loaded torch, MuJoCo, a GL driver and the writers of logs and videos, and whose
networks are tiny. Measured with torch's CPU build: 0.86 GB at preset=debug; a CUDA build takes about three times that.
"""

WORKER_BYTES = 150_000_000
"""What one environment in a process of its own adds: interpreter, MuJoCo, the GL driver and the model, without the
libraries' code, which all processes share. Measured for walker: 117 MB lite, 137 to 140 MB full.
"""

CUDA_PROCESS_BYTES = 3 * PROCESS_BYTES


@dataclass(frozen=True)
class Forecast:
    """Sizes in bytes; made by :func:`forecast`."""

    layout: Layout | None
    """How the replay lies on disk; ``layout.nbytes`` when it is full. None: there is none."""
    replay: int
    """Segment files at the end of the run: they are allocated one by one, so a short run never fills the capacity."""
    replay_files: int
    """The most segment files open at once."""
    checkpoint: int
    """One ``checkpoint.pt``."""
    snapshot: int
    """One snapshot."""
    marks: Sequence[int]
    """Frames of the snapshots the run reaches."""
    snapshot_dir: Path | None
    """Where they go; None is the run folder."""
    own_snapshots: int
    """Snapshots that go to the run folder whatever ``snapshot_dir`` is."""
    state: int
    """Weights, buffers and Adam's two moments."""
    gradients: int
    activations: int
    """Rough: what the agent says of an update."""
    on_gpu: bool
    workers: int = 0
    """Environments in processes of their own."""
    ring: int = 0
    """The replay's copy (``replay.device``)."""
    ring_on: torch.device | None = None
    """Where that is."""
    episode_records: int | None = None
    """Of the longest episode."""
    shares_gpu: bool = False
    """Whether the agent is on the GPU that has the copy."""
    cache: Path | None = None
    """The folder to which a data set is converted, if one is."""
    converted: int = 0
    """What it has yet to take."""
    growing: tuple[str, ...] = ("batch_size", "num_envs")
    """Settings that memory grows with besides the sizes of networks, the most telling first."""

    @property
    def ring_on_gpu(self) -> bool:
        """Whether the replay's copy is on a GPU."""
        return self.ring_on is not None and self.ring_on.type == "cuda"

    @property
    def run_folder(self) -> int:
        """Bytes in the run folder at its fullest: the old checkpoint stays until the new one is whole.

        Logs and videos are not counted (megabytes).
        """
        own = self.own_snapshots + (0 if self.snapshot_dir is not None else len(self.marks))
        return self.replay + 2 * self.checkpoint + own * self.snapshot

    @property
    def snapshots(self) -> int:
        """Bytes of the snapshots at ``marks``."""
        return len(self.marks) * self.snapshot

    @property
    def disk(self) -> int:
        """All bytes on disk at the run's fullest."""
        return self.run_folder + (0 if self.snapshot_dir is None else self.snapshots) + self.converted

    @property
    def learner(self) -> int:
        """Memory of what learns. The state counts twice: an update that goes wrong is taken back."""
        return 2 * self.state + self.gradients + self.activations

    @property
    def ram(self) -> int:
        """Main memory of the run's processes. The replay's pages are not counted: they are the system's file cache."""
        learner = CUDA_PROCESS_BYTES if self.on_gpu else PROCESS_BYTES + self.learner
        return learner + self.workers * WORKER_BYTES + (0 if self.ring_on_gpu else self.ring)

    @property
    def gpu(self) -> int:
        """Memory on the GPU, without what CUDA takes for itself."""
        return (self.learner if self.on_gpu else 0) + (self.ring if self.ring_on_gpu else 0)

    def describe(self) -> str:
        """One line for the console: ``needs: 13.1 GB of disk, about 5.0 GB of memory``."""
        gpu = f" and {readable(self.gpu)} on the GPU" if self.gpu else ""
        return f"needs: {readable(self.disk)} of disk, about {readable(self.ram)} of memory{gpu}"


def forecast(settings: OffPolicyKeys, phase: Phase) -> Forecast:
    """The needs of a run with ``settings`` whose agent does ``phase``.

    Raises :class:`UserError` when the agent cannot be built.
    """
    shape, dtype = env_observation(settings)
    action, physics, _ = env_sizes(settings)
    agent = outlined(settings, shape, action, phase)
    stored = physics if settings.replay.store_physics else None
    layout = plan(
        record_spec(shape, dtype, action, agent.recorded.dim, stored),
        capacity=settings.replay.capacity,
        num_envs=settings.num_envs,
        **settings.drawn,
    )
    replay = layout.bytes_after(total_records(settings))
    state = size_of(agent.training_state())
    folder, learner = settings.snapshot_dir, learner_device(settings.device)
    on_gpu, ring = learner.type == "cuda", ring_device(settings, learner)
    return Forecast(
        layout=layout,
        replay=replay,
        replay_files=replay // layout.segment_bytes,
        checkpoint=state + HEADER_BYTES,
        snapshot=size_of(agent.snapshot_modules()) + HEADER_BYTES,
        marks=tuple(mark for mark in settings.snapshots if mark <= settings.frames),
        snapshot_dir=None if folder is None else Path(folder).absolute(),
        own_snapshots=settings.models,
        state=state,
        gradients=sum(p.nbytes for p in agent.parameters() if p.requires_grad),
        activations=agent.activation_bytes(settings.batch_size, settings.drawn.get("batch_length", 1)),
        on_gpu=on_gpu,
        workers=settings.num_envs if settings.uses_workers else 0,
        ring=0 if ring is None else ring_bytes(layout, total_records(settings)),
        ring_on=ring,
        episode_records=episode_records(settings),
        shares_gpu=ring is not None and on_gpu and (ring.type, ring.index or 0) == ("cuda", learner.index or 0),
    )


def outlined(settings: AgentSettings, shape: tuple[int, ...], action: int, phase: Phase) -> Any:
    """The agent without memory; on the CPU where its constructor reads a tensor, which has no values then."""
    try:
        return outline_agent(settings, shape, action, phase)
    except (NotImplementedError, RuntimeError):
        with torch.random.fork_rng(devices=[]):
            return build_agent(settings, shape, action, phase, torch.device("cpu"))


def learner_device(asked: str) -> torch.device:
    """What ``device`` will be, whether it is there or not."""
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if asked == "auto" else asked)


def size_of(state: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    return sum(tensor.nbytes for tensor in tensors_in(state))
