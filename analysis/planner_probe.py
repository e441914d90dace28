"""``python -m analysis.planner_probe SNAPSHOT.pt``: does planning act better than the actor it starts from?

A fine-tuned snapshot (``finetuned_snapshot.pt``) plays every start twice, once with its actor's mean actions and once
with Dyna-MPC; nothing is trained. The difference of the two returns is paired, start by start. Beside it: whether the
search raises its own objective from one iteration to the next, and what it costs.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from scipy import stats

from agents.dreamer.agent import DreamerAgent
from agents.dreamer.planner import Plan, Planner
from analysis.snapshot_tool import ACTING, ANY_SNAPSHOT, add_named, build_env, check_request, progress, read_snapshot
from training.evaluation import play
from training.restored import restore_agent
from utils.errors import UserError, exit_status
from utils.report import write_json
from utils.seeding import derive, own_randomness


class WatchedPlanner(Planner):
    """Remembers the objective and the time of every search."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.objectives: list[np.ndarray] = []
        """Mean objective of the elites by iteration, (iterations,), a search each."""
        self.seconds: list[float] = []

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """As :meth:`Planner.plan`."""
        started = time.perf_counter()
        found = super().plan(*args, **kwargs)
        self.objectives.append(found.objective[:, 0].cpu().numpy())
        self.seconds.append(time.perf_counter() - started)
        return found


class Paired(NamedTuple):
    """Returns of E starts, (E,) each."""

    actor: np.ndarray
    planner: np.ndarray

    def difference(self) -> tuple[float, float, float]:
        """Mean of planner minus actor, and its 95 % interval by Student's t."""
        gain = self.planner - self.actor
        half = float(stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5)
        return float(gain.mean()), float(gain.mean()) - half, float(gain.mean()) + half


def load_agent(path: Path, named: Collection[str] = ()) -> tuple[DreamerAgent, WatchedPlanner, dict[str, Any]]:
    """The fine-tuned agent of ``path`` on the CPU, its planner, and the snapshot's content. Raises UserError.

    ``named`` are the import paths that the user names.
    """
    content = read_snapshot(path, "fine-tuned snapshot, such as .../finetuned_snapshot.pt")
    if not content["phase"] == "finetune":
        raise UserError(f"{path} is of a pre-training, which has no reward head for a task. Fine-tune it first.")
    agent = restore_agent(content, named=named)
    if not isinstance(agent, DreamerAgent):
        raise UserError(f"{path} is of agent={content['agent']}, which cannot plan.")
    settings = agent.settings.planner
    if settings.num_elites > settings.candidates:
        raise UserError(f"{path} has planner.num_elites={settings.num_elites} of {settings.candidates} candidates.")
    planner = WatchedPlanner(**settings.plain())
    agent.planner = planner
    return agent.eval(), planner, content


@torch.no_grad()
def compare(agent: DreamerAgent, env: gymnasium.Env, episodes: int, seed: int) -> Paired:
    """Play ``episodes`` starts of ``env``, each with the actor and with the planner, from the same state."""
    returns: dict[bool, list[float]] = {False: [], True: []}
    for number in range(episodes):
        before = env.get_state()  # type: ignore[attr-defined]
        for planning in (False, True):
            env.set_state(before)  # type: ignore[attr-defined]
            agent.planning = planning
            with own_randomness(agent.device, derive(seed, ACTING, number)):
                played = play(agent, env)
            assert played is not None
            returns[planning].append(played.reward)
        progress(f"start {number + 1}/{episodes}: actor {returns[False][-1]:.1f}, planner {returns[True][-1]:.1f}")
    return Paired(np.array(returns[False]), np.array(returns[True]))


def summary(paired: Paired, planner: WatchedPlanner) -> dict[str, Any]:
    """The numbers of the report, in plain values."""
    mean, low, high = paired.difference()
    objectives = np.stack(planner.objectives)
    return {
        "actor": paired.actor.tolist(),
        "planner": paired.planner.tolist(),
        "difference": mean,
        "interval": [low, high],
        "objective": objectives.mean(0).tolist(),
        "objective_rose": float((objectives[:, -1] > objectives[:, 0]).mean()),
        "searches": len(objectives),
        "milliseconds": 1000 * float(np.median(planner.seconds)),
    }


def table(report: Mapping[str, Any]) -> str:
    """The report for people, a line per quantity."""
    low, high = report["interval"]
    pairs = zip(report["actor"], report["planner"], strict=True)
    rows = {
        "snapshot": str(report["snapshot"]),
        "actor": f"mean return {np.mean(report['actor']):.1f}",
        "planner": f"mean return {np.mean(report['planner']):.1f}",
        "difference": f"{report['difference']:+.1f}, 95 % interval {low:+.1f} .. {high:+.1f}",
        "by start": "  ".join(f"{actor:.0f} -> {planned:.0f}" for actor, planned in pairs),
        "objective": " ".join(f"{value:.3f}" for value in report["objective"]) + "  (mean, by iteration)",
        "rose": f"in {100 * report['objective_rose']:.1f} % of {report['searches']} searches, first to last iteration",
        "time": f"{report['milliseconds']:.1f} ms per search (median, {torch.get_num_threads()} threads)",
    }
    return "\n".join(f"{name:<12}{value}" for name, value in rows.items())


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The report the command line asks for; writes nothing. Raises :class:`UserError`."""
    if options.episodes < 2:
        raise UserError(f"--episodes={options.episodes} is not possible: an interval needs two or more.")
    check_request(options.seed, {"--json": options.json})
    agent, planner, content = load_agent(options.snapshot, options.named)
    env = build_env(content["config"], options.seed, options.named, content["spec"])
    try:
        paired = compare(agent, env, options.episodes, options.seed)
    finally:
        env.close()
    return {"snapshot": str(options.snapshot), "seed": options.seed, **summary(paired, planner)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m analysis.planner_probe", description=__doc__.split("\n\n")[0])
    made.add_argument("snapshot", type=Path, metavar="SNAPSHOT.pt", help=ANY_SNAPSHOT)
    made.add_argument("--episodes", type=int, default=10, help="starts, each played twice (default: 10)")
    made.add_argument("--seed", type=int, default=0, help="of the starts (default: 0)")
    add_named(made)
    made.add_argument("--json", type=Path, metavar="PATH", help="write the numbers to this file")
    return made


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one snapshot."""
    options = parser().parse_args(arguments)
    report = run(options)
    print(table(report))
    write_json(options.json, report)


if __name__ == "__main__":
    sys.exit(main())
