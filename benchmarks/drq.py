"""Updates per second of plain DrQ on the CPU, against a floor.

python benchmarks/drq.py threads=2

Keys: ``threads``, ``json=PATH``.

**The floor.** A fixed count of operations (multiplications and additions, 2 per pair) over the rate of a 2048 x 2048
float32 matrix product with the same threads, measured in the same run. With B images per batch, K = M = 2 shifts, the
published sizes (32 channels, 50 features, 2 x 1024 units) and A = 1 action, one image costs forward, in millions of
multiply-adds:

    layer                          84 px                         64 px
    conv1 3x3/2, 9 -> 32           41^2 * 32 * 81   =  4.36      31^2 * 32 * 81   =  2.49
    conv2 3x3,  32 -> 32           39^2 * 32 * 288  = 14.02      29^2 * 32 * 288  =  7.75
    conv3 3x3,  32 -> 32           37^2 * 32 * 288  = 12.62      27^2 * 32 * 288  =  6.72
    conv4 3x3,  32 -> 32           35^2 * 32 * 288  = 11.29      25^2 * 32 * 288  =  5.76
    head  35^2 or 25^2 * 32 -> 50  39,200 * 50      =  1.96      20,000 * 50      =  1.00
    actor 50 -> 1024 -> 1024 -> 2                      1.10                          1.10
    critic, 2 x (51 -> 1024 -> 1024 -> 1)              2.20                          2.20

A backward pass costs a forward's operations once for the weights and once for the inputs (conv1 needs no inputs').
One update has

    target          next states, 2 B:   online convs, actor's head and actor; target convs, head and critic    forward
    critic          states, 2 B:        convs, head, critic                                     forward and backward
    actor, half     states, B:          convs                                                               forward
    the time                            actor's head (its backward: weights only), actor        forward and backward
                                        critic's head                                                       forward
                                        critic                              forward and backward for its inputs only

and nothing else is counted: shifts, normalisation, activations, Adam and the slow target are overhead. A test holds the
count to the one torch makes of a real update.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from utils.process import begin

    begin()

import torch
from hydra import compose, initialize_config_dir

from agents.agent import Agent
from benchmarks import arguments
from benchmarks.clock import clock_of, timed
from benchmarks.floor import matmul_rate
from benchmarks.machine import describe, provenance
from benchmarks.tables import markdown
from entry.settings import settings_of
from training.parts import build_agent
from utils.config import configs_of, to_plain
from utils.errors import exit_status
from utils.report import write_json

BATCH, CHANNELS, FEATURES, UNITS, ACTIONS, FRAMES = 128, 32, 50, 1024, 1, 9
SHIFTS = 2
SIDES = (84, 64)
WARM_UP, UPDATES = 4, 20


def floating_point_operations(size: int) -> float:
    """Of one update on images ``size`` pixels a side; see above."""
    side = (size - 3) // 2 + 1
    convs = [(side - 2 * i) ** 2 * CHANNELS * 9 * (FRAMES if i == 0 else CHANNELS) for i in range(4)]
    conv, head = sum(convs), (side - 6) ** 2 * CHANNELS * FEATURES
    actor = FEATURES * UNITS + UNITS**2 + UNITS * 2 * ACTIONS
    critic = 2 * ((FEATURES + ACTIONS) * UNITS + UNITS**2 + UNITS)
    target = SHIFTS * (2 * conv + 2 * head + actor + critic)
    learned = SHIFTS * (3 * (conv + head + critic) - convs[0])
    acted = 0.5 * (conv + 2 * head + 3 * actor + head + 2 * critic)
    return 2.0 * BATCH * (target + learned + acted)


def build(size: int) -> tuple[Agent, dict[str, torch.Tensor]]:
    """The published agent without skills, and a batch of random images."""
    with initialize_config_dir(str(configs_of("drq")), version_base="1.3"):
        plain = to_plain(compose("drq", ["num_skills=0", "device=cpu", f"render_size={size}", f"batch_size={BATCH}"]))
    settings = settings_of("drq", plain)
    torch.manual_seed(0)
    agent = build_agent(settings, (3, size, size), ACTIONS, "pretrain", torch.device("cpu"))
    return agent, {
        "observation": torch.randint(0, 256, (BATCH, FRAMES // 3 + 1, 3, size, size), dtype=torch.uint8),
        "action": torch.rand(BATCH, ACTIONS) * 2 - 1,
        "reward": torch.rand(BATCH),
        "is_terminal": torch.zeros(BATCH, dtype=torch.bool),
    }


def seconds_per_update(size: int) -> float:
    """The median of UPDATES, every second of which trains the actor: of pairs, halved."""
    agent, batch = build(size)

    def pair() -> None:
        agent.update(batch)
        agent.update(batch)

    clock = clock_of("cpu")
    timed(pair, WARM_UP // 2, clock)
    pairs = timed(pair, UPDATES // 2, clock)
    return pairs[len(pairs) // 2] / 2


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures, prints a table, and writes it with ``json=``. Raises :class:`UserError` before anything is built."""
    values = arguments.own(words, {}, {})
    rows = []
    with arguments.threads(values["threads"]):
        where = provenance()
        print(f"batch {BATCH}, {describe(where)}\n", flush=True)
        for size in SIDES:
            rate, operations, seconds = matmul_rate(), floating_point_operations(size), seconds_per_update(size)
            rows.append(
                {
                    "size": size,
                    "operations": operations,
                    "rate": rate,
                    "floor_ms": 1e3 * operations / rate,
                    "update_ms": 1e3 * seconds,
                    "updates_per_second": 1 / seconds,
                    "ratio": seconds * rate / operations,
                }
            )
    cells = [
        (
            *(f"{row['size']} px", f"{row['operations'] / 1e9:.1f} GFLOP", f"{row['floor_ms']:.0f} ms"),
            *(f"{row['update_ms']:.0f} ms", f"{row['updates_per_second']:.2f}", f"{row['ratio']:.2f}"),
        )
        for row in rows
    ]
    print(markdown(("images", "operations", "floor", "update", "updates a second", "ratio"), cells))
    write_json(arguments.file_of(values), {"batch_size": BATCH, "rows": rows, **where})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
