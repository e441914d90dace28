"""Milliseconds, memory and stages of one update of a Dreamer agent, against a floor.

python benchmarks/learner.py agent=dreamer batch_size=16 batch_length=16 threads=2

Own keys: ``agent`` (one, or ``all`` for every pre-training agent), ``threads``, ``updates`` (timed ones),
``baseline=true`` (a row more: eager float32 that reads every metric on the host after each update), ``json=PATH``.
Every other key is one of the configuration of ``dreamer_pretrain.py``, such as ``preset=small``, ``device=cuda``,
``precision=16``; ``compile=default`` or ``compile=cudagraphs`` adds a row to that of ``compile=off``.

The floor is a fixed 215 GFLOP (``benchmarks/dreamer_operations.py`` counts them), scaled to the batch, over the rate of
a 2048 x 2048 float32 matrix product on the same device with the same threads, measured in the same run. It belongs to
``agent=dreamer`` at published sizes; other agents' times are given over Dreamer's.
"""

import gc
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from utils.process import begin

    begin()

import torch
from torch import Tensor

from agents.agent import Agent
from benchmarks import arguments, stages
from benchmarks.clock import clock_of, timed
from benchmarks.dreamer_operations import floor_operations
from benchmarks.floor import matmul_rate
from benchmarks.machine import describe, provenance
from benchmarks.memory import measure as measure_memory
from benchmarks.pretraining import read
from benchmarks.tables import markdown
from entry.settings import composed
from training.parts import build_agent
from training.settings import PretrainKeys
from utils.compile import compile_agent
from utils.config import CONFIGS
from utils.device import resolve_device
from utils.errors import UserError, exit_status, unknown_value
from utils.heap import keep_freed_memory
from utils.report import write_json
from utils.rules import COUNT, FLAG, TEXT

OBS, ACTIONS = (3, 64, 64), 6
"""Of walker from pixels."""
WARM_UP = 5
"""Updates before the first timed one: libraries set themselves up, and what is compiled or captured is, in these."""
RESETS = 0.02
"""Share of records, besides the first of each sequence, that begin an episode."""
ALL, REFERENCE = "all", "dreamer"
BASELINE = "baseline"
BATCH = {"batch_size": 16, "batch_length": 16}
SIZED = ("rssm", "encoder", "decoder", "reward_head", "actor", "critic", "imag_horizon", "image_size")
"""What the floor's count of operations depends on."""


def agents() -> list[str]:
    """Every agent that can be pre-trained, the one that others are compared to first."""
    names = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
    return sorted(names, key=lambda name: name != REFERENCE)


def settings(overrides: Sequence[str]) -> PretrainKeys:
    """The settings of ``dreamer_pretrain.py`` with ``overrides``. Raises :class:`UserError`."""
    found = read(composed("pretrain", overrides))
    for key, wanted in (("obs_type", "pixels"), ("domain", "walker")):
        if (value := getattr(found, key)) != wanted:
            raise UserError(f"{key}={value}: the random batch is that of {key}={wanted}. Leave {key} out.")
    return found


def random_batch(agent: Agent, settings: PretrainKeys, device: torch.device) -> dict[str, Tensor]:
    """Random records (B, T, ...) on ``device``, with what an agent with skills needs."""
    lead = settings.batch_size, settings.batch_length
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(lead, generator=generator) < RESETS
    first[:, 0] = True
    batch = {
        "observation": torch.randint(0, 256, (*lead, *OBS), generator=generator, dtype=torch.uint8),
        "action": torch.rand(*lead, ACTIONS, generator=generator) * 2 - 1,
        "reward": torch.rand(lead, generator=generator),
        "is_first": first,
        "is_last": torch.zeros(lead, dtype=torch.bool),
        "is_terminal": torch.zeros(lead, dtype=torch.bool),
    }
    if agent.recorded.dim:
        skill = agent.recorded.sample(lead[0] * lead[1], device).unflatten(0, lead)
        batch |= {"skill": skill, "skill_valid": ~first}
    return {key: value.to(device) for key, value in batch.items()}


def variants(settings: PretrainKeys, baseline: bool) -> list[str]:
    """The rows of an agent: the baseline if asked for, ``compile=off``, and ``compile`` if it is another mode."""
    return [*([BASELINE] if baseline else []), *dict.fromkeys(("off", settings.compile))]


def build(settings: PretrainKeys, variant: str, device: torch.device) -> tuple[Agent, dict[str, Tensor]]:
    """The agent of a row, nothing of it compiled yet, and its batch."""
    if variant == BASELINE:
        settings = settings.model_copy(update={"precision": 32})
    torch.manual_seed(0)
    agent = build_agent(settings, OBS, ACTIONS, "pretrain", device)
    return agent, random_batch(agent, settings, device)


def measure(settings: PretrainKeys, variant: str, updates: int, device: torch.device) -> dict[str, Any]:
    """One row: the agent of ``settings`` as ``variant`` says; stages only of what is not compiled."""
    gc.collect()  # of the agent of the row before
    agent, batch = build(settings, variant, device)
    compiled = variant not in (BASELINE, "off")
    notes = compile_agent(agent, variant) if compiled else []
    for note in notes:
        print(f"note: {note}", flush=True)

    def update() -> None:
        updated = agent.update(batch)
        if variant == BASELINE:
            for value in updated.logged.values():
                value.item()

    clock = clock_of(device)
    timed(update, WARM_UP, clock)
    times = timed(update, updates, clock)
    memory = measure_memory(update, device)
    spent = {} if compiled else stages.split_times(agent, update, updates, clock)
    seconds = statistics.median(times)
    return {
        "agent": settings.agent.name,
        "variant": variant,
        "precision": 16 if getattr(agent, "amp", False) else 32,
        "update_ms": 1e3 * seconds,
        "fastest_ms": 1e3 * times[0],
        "updates_per_second": 1 / seconds,
        "resting_bytes": memory.resting if memory else None,
        "peak_bytes": memory.peak if memory else None,
        "stages_ms": {stage: 1e3 * value for stage, value in spent.items()},
        "notes": notes,
    }


def compare(rows: list[dict[str, Any]], floor: float, counted: bool) -> float | None:
    """Add ``over_dreamer`` and ``ratio`` to every row where they can be told; returns the ratio of the last one.

    ``floor`` is in seconds; ``counted``: Dreamer has the sizes whose operations were counted.
    """
    reference = {row["variant"]: row["update_ms"] for row in rows if row["agent"] == REFERENCE}
    last = None
    for row in rows:
        base = reference.get(row["variant"])
        row["over_dreamer"] = row["update_ms"] / base if base else None
        of_floor = counted and row["agent"] == REFERENCE
        row["ratio"] = row["update_ms"] / (1e3 * floor) if of_floor else None
        last = row["ratio"] if of_floor else last
    return last


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the rows, and that of their stages."""
    titles = ("agent", "variant", "update", "fastest", "updates a second", "over Dreamer", "over the floor")
    times = [
        [
            *(row["agent"], row["variant"], f"{row['update_ms']:.1f} ms", f"{row['fastest_ms']:.1f} ms"),
            *(f"{row['updates_per_second']:.2f}", _number(row["over_dreamer"]), _number(row["ratio"])),
            *(_megabytes(row["peak_bytes"]), _megabytes(row["peak_bytes"], row["resting_bytes"])),
        ]
        for row in rows
    ]
    split = [
        [row["agent"], row["variant"], *(f"{row['stages_ms'][stage]:.1f}" for stage in stages.STAGES)]
        for row in rows
        if row["stages_ms"]
    ]
    return "\n\n".join(
        [
            markdown((*titles, "memory", "of it by the update"), times),
            markdown(("ms", "variant", *stages.STAGES), split),
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _megabytes(peak: int | None, resting: int | None = 0) -> str:
    return "" if peak is None or resting is None else f"{(peak - resting) / 1e6:.0f} MB"


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures, prints the tables, writes them with ``json=``. Raises :class:`UserError` before anything is built."""
    values, overrides = arguments.split(
        words,
        {"agent": REFERENCE, "updates": 10, "baseline": False},
        {"agent": TEXT, "updates": COUNT, "baseline": FLAG},
    )
    if values["agent"] not in (*agents(), ALL):
        raise unknown_value("agent", values["agent"], (*agents(), ALL))
    given = [word.partition("=")[0] for word in overrides]
    overrides += [f"{key}={value}" for key, value in BATCH.items() if key not in given]
    names = agents() if values["agent"] == ALL else [values["agent"]]
    configs = [settings([f"agent={name}", *overrides]) for name in names]
    published = settings([f"agent={REFERENCE}"])
    device = resolve_device(configs[0].device)
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
    with arguments.threads(values["threads"]):
        where = provenance(device)
        batch, length = configs[0].batch_size, configs[0].batch_length
        print(f"{batch} x {length} records on {device.type}: {describe(where)}\n", flush=True)
        operations, rate = floor_operations(batch, length), matmul_rate(device)
        rows = [
            measure(config, variant, values["updates"], device)
            for config in configs
            for variant in variants(config, values["baseline"])
        ]
    ratio = compare(rows, operations / rate, all(getattr(configs[0], key) == getattr(published, key) for key in SIZED))
    print(f"{show(rows)}\n")
    report = {"batch_size": batch, "batch_length": length, "device": device.type, "overrides": overrides}
    floor = {"operations": operations, "rate": rate, "floor_ms": 1e3 * operations / rate}
    write_json(arguments.file_of(values), {"ratio": ratio, **report, **floor, "rows": rows, **where})
    print(f"floor: {operations / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s = {floor['floor_ms']:.1f} ms")
    if ratio is None:
        print(f"update / floor ratio: none, the floor is that of agent={REFERENCE} at published sizes")
    else:
        print(f"update / floor ratio: {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
