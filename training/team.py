"""The processes that make an update together: this one, and a follower on every other GPU (``num_gpus``).

This process alone collects, and has replay, logs, videos, snapshots and checkpoints; the followers have an agent each
and wait for orders. With an order for an update come the weights, where they may differ, the random state, and the
follower's share of the batch. Everything goes through ``torch.distributed``: gloo on the CPU, NCCL between GPUs.
"""

import io
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, multiprocessing

from agents.agent import Learns, Phase, Updated
from agents.nn import across
from training.learner import Kept, find_fault
from training.parts import agent_class, build_agent
from utils.errors import UserError
from utils.process import STOPS, signals_held
from utils.settings import parse, pick

HERE = "127.0.0.1"
"""All processes are on this machine."""

PATIENCE = timedelta(days=30)
"""How long an order may take to come: as long as an evaluation, or a step of the environments."""


class Blueprint(NamedTuple):
    """What a follower builds its agent from, in plain values: settings are of classes that are made at run time."""

    settings: Mapping[str, Any]
    observation: tuple[int, ...]
    action: int
    phase: Phase


class Order(NamedTuple):
    """An update to make."""

    updates: int
    """Those so far."""
    state: bytes | None
    """The agent's training state, as a file, where it may be another than the follower's."""
    random: tuple[Tensor, Tensor | None]
    """The states of torch's global generators, on the CPU and on the GPU."""
    batch: dict[str, tuple[tuple[int, ...], torch.dtype]]
    """Keys of the batch, in the order in which their shares are sent; the shape of a share, and its type."""


def devices(device: torch.device, count: int) -> list[torch.device]:
    """That of every process. Raises :class:`UserError` where there are fewer GPUs."""
    if device.type != "cuda":
        return [device] * count
    if (there := torch.cuda.device_count()) < count:
        raise UserError(f"num_gpus={count}: torch finds {there} GPU(s) here. Use num_gpus={there} or less.")
    return [torch.device("cuda", index) for index in range(count)]


class Team:
    """The followers, started at once and met at the first update. ``device`` is that of this process's agent."""

    def __init__(self, blueprint: Blueprint, device: torch.device, count: int) -> None:
        self.device, self.count = device, count
        self._store = distributed.TCPStore(HERE, 0, count, is_master=True, wait_for_workers=False, timeout=PATIENCE)
        self._met = False
        context = multiprocessing.get_context("spawn")
        threads = torch.get_num_threads()
        self._processes = [
            context.Process(
                target=follow,
                args=(blueprint, str(own), index, count, self._store.port, threads),
                name=f"follower-{index}",
                daemon=True,
            )
            for index, own in list(enumerate(devices(device, count)))[1:]
        ]
        with signals_held():  # what to do about a stop signal is decided here
            for process in self._processes:
                process.start()

    def update(self, agent: Learns, batch: Mapping[str, Tensor], with_state: bool) -> Updated:
        """One update of ``agent`` and of the followers', each on its share of ``batch``; losses and metrics of all.

        ``with_state``: the followers take over this agent's state first. Raises :class:`UserError` for a follower that
        has ended.
        """
        try:
            self._meet()
            shares = {key: value.chunk(self.count) for key, value in batch.items()}
            own = {key: (tuple(parts[0].shape), parts[0].dtype) for key, parts in shares.items()}
            state = _packed(agent.training_state()) if with_state else None
            _send(Order(agent.updates, state, _random(self.device), own))
            return _update(agent, {key: _scatter(parts) for key, parts in shares.items()})
        except RuntimeError as error:
            if gone := [process for process in self._processes if process.exitcode is not None]:
                raise UserError(
                    f"num_gpus={self.count}: the process {gone[0].name} has ended with status {gone[0].exitcode}; what "
                    "it said stands above. The last checkpoint stands: go on with resume=latest, maybe with num_gpus=1."
                ) from error
            raise

    def _meet(self) -> None:
        if not self._met:
            _join(self._store, 0, self.count, self.device)
            self._met = True

    def close(self) -> None:
        """End the followers; they have nothing to save."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        if self._met:
            self._met = False
            distributed.destroy_process_group()


def follow(blueprint: Blueprint, device: str, index: int, count: int, port: int, threads: int) -> None:
    """A follower: the agent of ``blueprint`` on ``device``, and one order after the other, as long as any come."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(threads)
    own = torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    plain = blueprint.settings
    schema = agent_class(plain["agent"]["_target_"]).schema(plain["agent"])
    settings = parse(schema, pick(schema, plain))
    agent = build_agent(settings, blueprint.observation, blueprint.action, blueprint.phase, own)
    store = distributed.TCPStore(HERE, port, count, is_master=False, timeout=PATIENCE)
    _join(store, index, count, own)
    kept = Kept(agent)
    with suppress(_Over):
        while True:
            order = _receive()
            if order.state is not None:
                agent.load_training_state(torch.load(io.BytesIO(order.state), map_location="cpu", weights_only=True))
                kept = Kept(agent)
            agent.updates = order.updates
            on_cpu, on_gpu = order.random
            torch.set_rng_state(on_cpu)
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu, own)
            kept.store()
            batch = {key: _share(shape, dtype, own) for key, (shape, dtype) in order.batch.items()}
            if find_fault(_update(agent, batch).losses) is not None:
                kept.put_back()


class _Over(Exception):
    """Whoever gives the orders is gone."""


def _join(store: distributed.Store, index: int, count: int, device: torch.device) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, store=store, rank=index, world_size=count, timeout=PATIENCE)


def _send(order: Order) -> None:
    distributed.broadcast_object_list([order], src=0, device=torch.device("cpu"))


def _receive() -> Order:
    orders: list[Any] = [None]
    try:
        distributed.broadcast_object_list(orders, src=0, device=torch.device("cpu"))
    except RuntimeError:
        raise _Over from None
    return orders[0]


def _scatter(parts: tuple[Tensor, ...]) -> Tensor:
    """The share of this process of one key; the others' are sent."""
    sent = [_bytes(part.contiguous()) for part in parts]
    mine = torch.empty_like(sent[0])
    distributed.scatter(mine, sent, src=0)
    return mine.view(parts[0].dtype) if parts[0].dtype == torch.bool else mine


def _share(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """What :func:`_scatter` sends to a follower."""
    mine = torch.empty(shape, dtype=dtype, device=device)
    distributed.scatter(_bytes(mine), src=0)
    return mine


def _bytes(x: Tensor) -> Tensor:
    """Truth values as bytes, which all transports know."""
    return x.view(torch.uint8) if x.dtype == torch.bool else x


def _update(agent: Learns, batch: Mapping[str, Tensor]) -> Updated:
    """One update on a share of the batch, and what all say of it."""
    with across.sharing():
        updated = agent.update(batch)
        means = across.averages(updated.logged)
    return Updated(*({name: means[name] for name in part} for part in updated))


def _random(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _packed(state: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
