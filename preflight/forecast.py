"""What a run with a checked configuration will need of disk and memory, before anything big is built.

    need = forecast(config)
    notes = short_of(need, run_dir)     # raises UserError when the disk cannot take it

The agent is built on torch's ``meta`` device, where tensors have shapes and no memory; nothing is drawn from the random
streams. Neither MuJoCo nor a renderer is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agents.drq.agent import SHIFTS
from envs.make import body
from preflight.settings import resolve_device
from replay import Layout, check_disk, plan
from replay.files import free_bytes, readable
from replay.ring import ring_bytes
from training.parts import build_agent, record_spec, ring_device, total_records, uses_workers
from utils.config import is_finetuning
from utils.errors import UserError
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

DRQ_KEYS = {
    "num_train_frames": "num_train_steps",
    "replay.capacity": "replay_buffer_capacity",
    "preset=": "drq_preset=",
}
"""What keys that messages name are called in ``drq_train.py``."""

TIGHT = 0.1
"""Share of the free disk that should be left."""


@dataclass(frozen=True)
class Forecast:
    """Sizes in bytes; made by :func:`forecast`."""

    layout: Layout
    """How the replay lies on disk; ``layout.nbytes`` when it is full."""
    replay: int
    """Segment files at the end of the run: they are allocated one by one, so a short run never fills the capacity."""
    replay_files: int
    """The most segment files open at once."""
    checkpoint: int
    """One ``checkpoint.pt``."""
    snapshot: int
    """One snapshot."""
    marks: tuple[int, ...]
    """Frames of the snapshots the run reaches."""
    snapshot_dir: Path | None
    """Where they go; None is the run folder."""
    own_snapshots: int
    """Snapshots that go to the run folder whatever ``snapshot_dir`` is: ``finetuned_snapshot.pt``, or the models that
    DrQ writes at every evaluation and at the end.
    """
    state: int
    """Weights, buffers and Adam's two moments."""
    gradients: int
    activations: int
    """Rough: see :func:`activations`."""
    on_gpu: bool
    of_drq: bool = False
    workers: int = 0
    """Environments in processes of their own."""
    ring: int = 0
    """The replay's copy (``replay.device``)."""
    ring_on: torch.device | None = None
    """Where that is."""
    shares_gpu: bool = False
    """Whether the agent is on the GPU that has the copy."""

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
        return self.run_folder + (0 if self.snapshot_dir is None else self.snapshots)

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

    def words(self, message: str) -> str:
        """``message`` with the keys that the run's script has."""
        for key, name in DRQ_KEYS.items() if self.of_drq else ():
            message = message.replace(key, name)
        return message

    def describe(self) -> str:
        """One line for the console: ``needs: 13.1 GB of disk, about 5.0 GB of memory``."""
        gpu = f" and {readable(self.gpu)} on the GPU" if self.gpu else ""
        return f"needs: {readable(self.disk)} of disk, about {readable(self.ram)} of memory{gpu}"


def forecast(config: Mapping[str, Any]) -> Forecast:
    """The needs of a run with ``config``, a configuration that the check of its script returned.

    Raises :class:`UserError` when the agent cannot be built.
    """
    finetunes = is_finetuning(config)
    shape = (3, config["image_size"], config["image_size"])
    action, physics = body(config["task"])
    agent = _without_memory(config, shape, action, "finetune" if finetunes else "pretrain")
    layout = plan(
        record_spec(config, shape, "uint8", action, agent.recorded.dim, physics),
        capacity=config["replay"]["capacity"],
        num_envs=config["num_envs"],
        batch_length=config.get("batch_length"),
        stack=config.get("framestack"),
    )
    replay = layout.bytes_after(total_records(config))
    state = _size(agent.training_state())
    snapshot = _size(agent.snapshot_modules()) + HEADER_BYTES
    folder = config["snapshot_dir"]
    device = config["device"]
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    learner = torch.device(device if device != "auto" else "cuda" if on_gpu else "cpu")
    ring = ring_device(config, learner)
    return Forecast(
        layout=layout,
        replay=replay,
        replay_files=replay // layout.segment_bytes,
        checkpoint=state + HEADER_BYTES,
        snapshot=snapshot,
        marks=tuple(mark for mark in config["snapshots"] if mark <= config["num_train_frames"]),
        snapshot_dir=None if folder is None else Path(folder).absolute(),
        own_snapshots=_own_snapshots(config),
        state=state,
        gradients=sum(p.nbytes for p in agent.parameters() if p.requires_grad),
        activations=activations(agent, config),
        on_gpu=on_gpu,
        of_drq=_is_drq(config),
        workers=config["num_envs"] if uses_workers(config) else 0,
        ring=0 if ring is None else ring_bytes(layout, total_records(config)),
        ring_on=ring,
        shares_gpu=ring is not None and on_gpu and (ring.type, ring.index or 0) == ("cuda", learner.index or 0),
    )


def short_of(need: Forecast, run_dir: Path) -> list[str]:
    """Notes on what is tight for a run in ``run_dir``, which may exist (then what it holds counts as free).

    Raises :class:`UserError` when a disk cannot take the run.
    """
    return disk_notes(need, run_dir) + memory_notes(need)


def disk_notes(need: Forecast, run_dir: Path) -> list[str]:
    """Notes on disks of which less than ``TIGHT`` of what is free now would be left. Raises as :func:`short_of`."""
    try:
        check_disk(run_dir / "replay", need.layout, need.replay)
    except UserError as error:
        raise UserError(need.words(str(error))) from None
    notes = []
    for folder, wanted in _by_disk(need, run_dir).items():
        free = free_bytes(folder) + (_present(run_dir) if folder == run_dir else 0)
        if wanted > free:
            keys, fewer = need.words("num_train_frames, replay.capacity"), need.words("lower replay.capacity")
            rarer = " or raise eval_frequency" if need.of_drq else ""
            raise UserError(
                f"{keys}={need.layout.capacity}: the run needs {readable(wanted)} in {folder} ({_parts(need)}), and "
                f"{readable(free)} are free. Free some space, choose a folder on another disk (hydra.run.dir, "
                f"snapshot_base_dir), or {fewer}{rarer}."
            )
        if free - wanted < TIGHT * free:
            notes.append(
                f"disk: the run needs {readable(wanted)} in {folder}, and {readable(free)} are free; "
                f"{readable(free - wanted)} will be left. Free some space, or {need.words('lower replay.capacity')}."
            )
    return notes


def memory_notes(need: Forecast) -> list[str]:
    """A note when less memory is available than the run will take; none where that cannot be read.

    Raises :class:`UserError` when a GPU cannot take the replay's copy.
    """
    notes = ring_notes(need)
    available = available_memory()
    if available is None or need.ram <= available:
        return notes
    return [
        *notes,
        f"memory: the run takes about {readable(need.ram)}, and {readable(available)} are available. Stop other "
        f"programs, lower batch_size, or choose {need.words('preset=small')}.",
    ]


def ring_notes(need: Forecast) -> list[str]:
    """A note when a GPU can take the replay's copy, but not what the agent needs besides.

    Raises :class:`UserError` when it cannot take the copy, or is not there.
    """
    if need.ring_on is None or not need.ring_on_gpu:
        return []
    resolve_device(str(need.ring_on), "replay.device")
    free, _ = torch.cuda.mem_get_info(need.ring_on)
    what, fewer = f"replay.device={need.ring_on}: the replay's copy", need.words("lower replay.capacity")
    if need.ring > free:
        raise UserError(
            f"{what} needs {readable(need.ring)} on the GPU, and {readable(free)} are free. "
            f"Use replay.device=null (replay.prefetch=true hides most of what the files cost), or {fewer}."
        )
    if need.shares_gpu and need.gpu > free:
        return [
            f"memory: {what} and the agent take about {readable(need.gpu)} on the GPU, and {readable(free)} are free. "
            f"Use replay.device=null, {fewer}, or lower batch_size."
        ]
    return []


def available_memory(table: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that programs can still get without swapping (Linux's MemAvailable); None where there is no such table."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(kilobytes) for _, kilobytes, *_ in found), None)


def activations(agent: nn.Module, config: Mapping[str, Any]) -> int:
    """Rough bytes of what one update keeps for its gradients, in float32.

    Of DrQ: see :func:`_of_transitions`. Of Dreamer, every convolution and linear layer keeps its input and its output.
    Layers of behaviours and of the RSSM are evaluated at every imagined step (``imag_horizon`` times
    batch_size * batch_length rows) by the behaviour's step, all others once per record by the world model's and the
    method's. The two steps follow each other: the larger counts. Not counted: a method's scores without gradient, the
    libraries' work space. Measured for agent=dreamer with the published networks and batch_size=5: 0.43 GB, this says
    0.37 GB.
    """
    if _is_drq(config):
        return _of_transitions(agent, config)
    rows = config["batch_size"] * config["batch_length"]
    observed = imagined = 0
    side = config["image_size"]
    for name, layer in agent.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            side, numbers = _convolution(layer, side, config["image_size"])
            observed += numbers
        elif isinstance(layer, nn.Linear):
            numbers = layer.in_features + layer.out_features
            observed += numbers
            if ".behavior." in name or ".rssm." in name or ".reward_head." in name:
                imagined += numbers
    return 4 * rows * max(observed, config["imag_horizon"] * imagined)


def _of_transitions(agent: nn.Module, config: Mapping[str, Any]) -> int:
    """:func:`activations` of DrQ, whose layers see ``SHIFTS`` shifted stacks of frames per transition.

    All shifted stacks of both states are there throughout. Critic, actor and discriminator are trained one after the
    other, the largest counts: inputs and outputs of its layers that are trained.
    Measured with the published networks and 10 skills: 0.31 GB with batch_size=64, 0.50 GB with 128; this says 0.29 and
    0.58 GB.
    """
    stack = 3 * config["framestack"]
    largest = 0
    for part in agent.children():
        kept, side = 0, config["image_size"]
        for layer in part.modules():
            if not any(p.requires_grad for p in layer.parameters(recurse=False)):
                continue
            if isinstance(layer, nn.Conv2d):
                before = side
                side = (before - layer.kernel_size[0]) // layer.stride[0] + 1
                kept += layer.in_channels * before**2 + layer.out_channels * side**2
            elif isinstance(layer, nn.Linear):
                kept += layer.in_features + layer.out_features
        largest = max(largest, kept)
    return 4 * SHIFTS * config["batch_size"] * (2 * stack * config["image_size"] ** 2 + largest)


def _is_drq(config: Mapping[str, Any]) -> bool:
    """Whether ``config`` is one of ``drq_train.py``: only that stacks frames."""
    return "framestack" in config


def _own_snapshots(config: Mapping[str, Any]) -> int:
    if _is_drq(config):
        return 1 + config["num_train_steps"] // config["eval_frequency"] + 1  # at step 0, and the final model
    return int(is_finetuning(config) and config["save_ft_model"])


def _without_memory(config: Mapping[str, Any], shape: tuple[int, ...], action: int, phase: str) -> Any:
    """The agent on the ``meta`` device; on the CPU where its constructor reads a tensor, which has no values there."""
    meta, cpu = torch.device("meta"), torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        try:
            with meta:  # networks whose constructor names no device are made there, too
                return build_agent(config, shape, action, phase, meta)
        except (NotImplementedError, RuntimeError):
            return build_agent(config, shape, action, phase, cpu)


def _convolution(layer: nn.Conv2d | nn.ConvTranspose2d, side: int, image_size: int) -> tuple[int, int]:
    """(side of its output, numbers in input and output); a stack of layers starts from an image or a single pixel."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    if isinstance(layer, nn.ConvTranspose2d):
        before = 1 if layer.in_channels > 4 * layer.out_channels else side
        after = (before - 1) * stride + kernel
    else:
        before = image_size if layer.in_channels == 3 else side
        after = (before - kernel) // stride + 1
    return after, layer.in_channels * before**2 + layer.out_channels * after**2


def _by_disk(need: Forecast, run_dir: Path) -> dict[Path, int]:
    """Bytes wanted of each disk, by one of the folders on it."""
    if need.snapshot_dir is None or not need.marks:
        return {run_dir: need.run_folder}
    if _existing(run_dir).stat().st_dev == _existing(need.snapshot_dir).stat().st_dev:
        return {run_dir: need.disk}
    return {run_dir: need.run_folder, need.snapshot_dir: need.snapshots}


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _present(run_dir: Path) -> int:
    """Bytes of the files of a run to be resumed that it will go on using or replace."""
    files = [*(run_dir / "replay").glob("stream_*/segment_*.bin"), run_dir / "checkpoint.pt"]
    return sum(path.stat().st_size for path in files if path.is_file())


def _parts(need: Forecast) -> str:
    parts = {
        "replay": need.replay,
        "checkpoint, twice while it is written": 2 * need.checkpoint,
        f"{len(need.marks)} snapshots": need.snapshots,
        f"{need.own_snapshots} models" if need.of_drq else "fine-tuned snapshot": need.own_snapshots * need.snapshot,
    }
    return ", ".join(f"{name}: {readable(size)}" for name, size in parts.items() if size)


def _size(state: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors_in(state))
