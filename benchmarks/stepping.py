"""Environments stepped with random actions and with an agent's, a row per combination; see ``benchmarks/collector.py``.

Nothing is stored and nothing learned: what is left is what a run's collector costs at the least.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from agents.agent import Acts
from benchmarks import arguments
from benchmarks.machine import describe, provenance
from benchmarks.memory import own_share
from benchmarks.pretraining import read
from benchmarks.stages import Split
from benchmarks.tables import markdown
from entry.settings import composed
from envs.checks import RENDER_QUALITIES
from envs.make import make
from envs.vector import make_vector
from training.parts import build_agent, env_arguments
from training.settings import PretrainKeys
from utils.compile import compile_agent
from utils.device import resolve_device
from utils.errors import exit_status
from utils.report import write_json
from utils.rules import COUNT, FLAG, choice

TASK = "walker_run"
WARM_UP = 5
"""Steps before the first timed one: libraries set themselves up, and acting is captured where that was asked for."""
ENV, ACT = "env", "act"

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Observations (n, ...) and where episodes begin (n,) bool -> actions float32 (n, A)."""


class Case(NamedTuple):
    """What one row is of."""

    num_envs: int
    workers: bool
    quality: str


def settings(overrides: Sequence[str]) -> PretrainKeys:
    """The settings of ``dreamer_pretrain.py`` with ``overrides``, of ``TASK`` unless they name another.

    Raises :class:`UserError`.
    """
    keys = [arguments.key_of(word) for word in overrides]
    words = list(overrides)
    if "domain" not in keys:
        words += ["domain=none"] if "task" in keys else ["domain=none", f"task={TASK}"]
    return read(composed("pretrain", words))


def random_policy(shape: tuple[int, int]) -> Policy:
    """Uniform actions (n, A) = ``shape`` in [-1, 1]."""
    random = np.random.default_rng(0)
    return lambda observation, begins: random.uniform(-1, 1, shape).astype(np.float32)


def agent_policy(agent: Acts, count: int) -> Policy:
    """As a collector asks: the agent acts on all ``count`` environments at once, and its actions come to the host."""
    acting = agent.start(count)

    def policy(observation: np.ndarray, begins: np.ndarray) -> np.ndarray:
        nonlocal acting
        is_first = torch.from_numpy(begins).to(agent.device)
        if begins.any():
            acting = agent.begin(acting, is_first)
        seen = torch.from_numpy(observation).to(agent.device)
        action, acting = agent.act(seen, acting, is_first, agent.collects)
        return action.cpu().numpy()

    return policy


def step(envs: VectorEnv, policy: Policy, count: int) -> dict[str, float]:
    """Seconds that ``count`` steps of all ``envs`` take by stage, ``WARM_UP`` steps left out.

    New episodes begin, first of all and where one has ended; a policy on a GPU waits for it, so no clock has to.
    """
    split = Split(time.perf_counter, (ENV, ACT))
    reset, advance, act = split.wrap(envs.reset, ENV), split.wrap(envs.step, ENV), split.wrap(policy, ACT)
    done = np.ones(envs.num_envs, bool)
    for index in range(WARM_UP + count):
        if index == WARM_UP:
            split.restart()
        begins = done
        if begins.any():
            seen, _ = reset(options={"reset_mask": begins})
        seen, _, terminated, truncated, _ = advance(act(seen["observation"], begins))
        done = terminated | truncated
    split.switch(ENV)
    return split.seconds


def measure(case: Case, settings: PretrainKeys, agent: Acts | None, action_dim: int, steps: int) -> dict[str, Any]:
    """One row. ``steps`` are agent steps over all environments, rounded up to whole steps of all of them."""
    count = -(-steps // case.num_envs)
    start = time.perf_counter()
    envs = make_vector(
        settings.task,
        case.num_envs,
        workers=case.workers,
        timeout=settings.collect.timeout,
        **(env_arguments(settings) | {"render_quality": case.quality}),
    )
    with closing(envs):
        envs.reset()
        started = time.perf_counter() - start
        random = step(envs, random_policy((case.num_envs, action_dim)), count)
        acted = step(envs, agent_policy(agent, case.num_envs), count) if agent is not None else None
        shares = [own_share(process.pid) for process in getattr(envs, "processes", ())]
    frames = count * case.num_envs * settings.action_repeat
    return {
        **case._asdict(),
        "frames": frames,
        "frames_per_second": frames / sum(random.values()),
        "acting_frames_per_second": frames / sum(acted.values()) if acted else None,
        "env_ms": 1e3 * (acted or random)[ENV] / count,
        "act_ms": 1e3 * acted[ACT] / count if acted else None,
        "start_seconds": started,
        "worker_bytes": [share for share in shares if share is not None],
    }


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the rows; ``env`` and ``act`` are of one step of all environments."""
    titles = ("environments", "in", "rendering", "random actions", "the agent's", "env", "act", "start", "worker")
    cells = [
        [
            *(str(row["num_envs"]), "workers" if row["workers"] else "one process", row["quality"]),
            *(_shown(row[key], "{:.0f} frames/s") for key in ("frames_per_second", "acting_frames_per_second")),
            *(_shown(row[key], "{:.2f} ms") for key in ("env_ms", "act_ms")),
            f"{row['start_seconds']:.1f} s",
            _shown(max(row["worker_bytes"], default=None), "{:.0f} MB", 1e-6),
        ]
        for row in rows
    ]
    return markdown(titles, cells)


def _shown(value: float | None, form: str, scale: float = 1) -> str:
    return "" if value is None else form.format(scale * value)


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures, prints the table, writes it with ``json=``. Raises :class:`UserError` before anything is built."""
    values, overrides = arguments.split(
        words,
        {
            "num_envs": [1, 4],
            "collect.workers": [False, True],
            "render.quality": list(RENDER_QUALITIES),
            "steps": 200,
            "act": True,
        },
        {
            "num_envs": COUNT,
            "collect.workers": FLAG,
            "render.quality": choice(*RENDER_QUALITIES),
            "steps": COUNT,
            "act": FLAG,
        },
    )
    asked = settings(overrides)
    device = resolve_device(asked.device) if values["act"] else torch.device("cpu")
    with arguments.threads(values["threads"]):
        with closing(make(asked.task, **env_arguments(asked))) as env:  # loads the simulator before any row
            shape, actions = env.observation_space["observation"].shape, env.action_space.shape[0]  # type: ignore
        where = provenance(device)
        acting = f"{asked.agent.name} on {device.type}, " if values["act"] else ""
        print(f"{asked.task}, {asked.image_size} px, {acting}{describe(where)}\n", flush=True)
        agent = None
        if values["act"]:
            torch.manual_seed(0)
            agent = build_agent(asked, shape, actions, "pretrain", device)
            for note in compile_agent(agent, asked.compile):
                print(f"note: {note}", flush=True)
        cases = product(values["num_envs"], values["collect.workers"], values["render.quality"])
        rows = [measure(Case(*case), asked, agent, actions, values["steps"]) for case in cases]
    print(show(rows))
    report = {"task": asked.task, "device": device.type, "overrides": overrides}
    write_json(arguments.file_of(values), {**report, "rows": rows, **where})
