"""``jobs=auto``: how many runs of a study this machine takes side by side, by what each is forecast to need."""

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from preflight.room import available_memory
from replay.files import readable
from studying.check import PHASES, bare_words
from studying.plan import Planned

MARGIN = 0.1
"""Share of the memory that is left alone."""

CONTEXT_BYTES = 700_000_000
"""What a process takes on a GPU besides its tensors: CUDA's context and the code of the libraries. An assumption on the
safe side: contexts are between 0.3 and 0.6 GB.
"""

ROUGH = 1.3
"""The forecast of an update's memory is rough, and the allocator keeps pieces between tensors."""


class Machine(NamedTuple):
    """What runs share; bytes."""

    cores: int
    memory: int | None
    """Available; None: nobody knows."""
    gpu: int | None
    """Free on the GPU that runs take; None: there is none."""


class Need(NamedTuple):
    """Of one run; bytes."""

    memory: int
    gpu: int
    """0 where it learns on the CPU."""


class Packed(NamedTuple):
    """How many runs there is room for."""

    jobs: int
    by: str
    """What the limit is, in words."""


def packed(machine: Machine, needs: Iterable[Need], threads: int | None, runs: int) -> Packed:
    """As many runs side by side as have room if all were the largest one, at least one and at most ``runs``.

    On a GPU each takes its share of memory there and a core; on a CPU ``threads`` cores, or all of them where torch
    takes as many as it wants.
    """
    every = list(needs)
    memory, gpu = (max((getattr(one, name) for one in every), default=0) for name in ("memory", "gpu"))
    cores = 1 if gpu else (threads or machine.cores)
    limits = {f"{machine.cores} cores, {cores} each": machine.cores // cores}
    if machine.memory is not None and memory:
        room = math.floor((1 - MARGIN) * machine.memory / memory)
        limits[f"{readable(machine.memory)} of memory, about {readable(memory)} each"] = room
    if machine.gpu is not None and gpu:
        share = math.ceil(ROUGH * gpu) + CONTEXT_BYTES
        room = math.floor((1 - MARGIN) * machine.gpu / share)
        limits[f"{readable(machine.gpu)} free on the GPU, about {readable(share)} each"] = room
    by = min(limits, key=lambda name: limits[name])
    if runs < limits[by]:
        return Packed(max(1, runs), f"{runs} runs in all")
    return Packed(max(1, limits[by]), by)


def this_machine() -> Machine:
    """What is free at the moment."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return Machine(cores, available_memory(), _free_on_gpu() if torch.cuda.is_available() else None)


def _free_on_gpu() -> int | None:
    """Asked in a process of its own: whoever asks keeps a context there for as long as it lives."""
    code = "import torch; print(torch.cuda.mem_get_info()[0])"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return int(asked.stdout) if asked.returncode == 0 else None


def needs_of(runs: Sequence[Planned]) -> list[Need]:
    """The forecast of one run of every kind, agent and variant; not of those on a data set, which may not be here: they
    need no more than the fine-tunings of what they have learned. Raises :class:`UserError` for one that cannot be.
    """
    seen: dict[tuple[str, str, str], Need] = {}
    for run in runs:
        key = (run.kind, run.agent, run.variant)
        if run.kind == "skills" or run.script == SCRIPTS["offline_train"].file or key in seen:
            continue
        phase = PHASES[run.script]
        script = SCRIPTS[phase]
        need = script.forecast(settings_of(phase, composed(phase, bare_words(run))), script.phase)
        seen[key] = Need(need.ram, need.gpu)
    return list(seen.values())


def auto_jobs(runs: Sequence[Planned], threads: int | None) -> Packed:
    """How many of ``runs`` this machine takes side by side. Raises :class:`UserError` as :func:`needs_of`."""
    return packed(this_machine(), needs_of(runs), threads, len(runs))
