"""A trial before the first update: how long a twin of the agent takes to learn and to act on this machine."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from agents.agent import Agent, Mode, Phase
from agents.latch import trip_all
from replay import Replay
from training.parts import build_agent
from training.settings import OffPolicyKeys
from utils.seeding import random_state, set_random_state

ENOUGH = 10.0
"""Seconds after which nothing is timed once more."""

MOST = 5
"""Times that one thing is timed."""

MOST_CHANGES = 10


class Acting(NamedTuple):
    """Seconds of one action."""

    train: float
    """For all training environments together."""
    look: float
    """In an evaluation."""


class Trial(NamedTuple):
    """What a trial found, in seconds."""

    update: float
    """Once everything learns that does in this run."""
    first: Acting
    """As the agent acts when the seed phase is over."""
    last: Acting
    """As it acts at the end of the run, for instance with a planner."""
    changes: int
    """Notes of :meth:`agents.agent.Learns.adapt` between the two; 0 when they take the same time."""


def attempt(
    settings: OffPolicyKeys, phase: Phase, agent: Agent, replay: Replay, last_frame: int, stopped: Callable[[], bool]
) -> Trial | None:
    """Time an update and actions of an agent like ``agent``, on what ``replay`` holds; it has to be ready.

    The twin has tensors of its own, and all random states are put back: the run goes on as if nothing had been tried.
    It is not compiled, so a compiled agent will be faster than this says. None when ``stopped`` became true.
    """
    sampler, random = replay.sampler.state, random_state(agent.device)
    try:
        batch = replay.sample()
        seen, _ = replay.layout.dtype.fields["observation"][:2]  # type: ignore[index]
        black = torch.zeros(1, *seen.shape, dtype=batch["observation"].dtype, device=agent.device)
        twin = build_agent(settings, seen.shape, batch["action"].shape[-1], phase, agent.device)
        twin.load_training_state(agent.training_state())
        return _tried(twin, replay, black, settings.num_envs, last_frame, stopped)
    finally:
        replay.sampler.state = sampler
        set_random_state(random, agent.device)


def _tried(
    twin: Agent, replay: Replay, black: torch.Tensor, count: int, last_frame: int, stopped: Callable[[], bool]
) -> Trial | None:
    def update() -> None:
        losses = twin.update(replay.sample()).losses
        torch.stack([loss.detach().float() for loss in losses.values()]).cpu()  # waits for the device

    def acting() -> Acting:
        return Acting(_seconds(_action(twin, black, count, twin.collects)), _seconds(_action(twin, black, 1, "eval")))

    trip_all(twin)  # what waits for data, such as a first reward, is soon true in most runs
    first, changes = acting(), 0
    while changes < MOST_CHANGES and not stopped() and twin.adapt(last_frame, replay):
        changes += 1
    if stopped():
        return None
    last = acting() if changes else first
    learning = _seconds(update)
    alike = all(late < 1.5 * early for late, early in zip(last, first, strict=True))
    return Trial(learning, first, last, 0 if alike else changes)


def _action(agent: Agent, black: torch.Tensor, count: int, mode: Mode) -> Callable[[], Any]:
    """Acts once on ``count`` observations that are all zeros, as ``black`` (1, ...) is, with a result on the host."""
    acting = agent.start(count)
    observation = black.repeat(count, *[1] * (black.dim() - 1))
    is_first = torch.zeros(count, dtype=torch.bool, device=agent.device)
    return lambda: agent.act(observation, acting, is_first, mode)[0].cpu()


def _seconds(work: Callable[[], Any]) -> float:
    """Of one call: the mean of several where these are short, without the first, in which much happens only once."""
    seconds: list[float] = []
    while len(seconds) < MOST and sum(seconds) < ENOUGH:
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    counted = seconds[1:] if len(seconds) > 2 else seconds
    return sum(counted) / len(counted)
