"""Play a snapshot on any task of its domain and write down what every episode has brought.

python evaluate.py snapshot=pretrained_models/pixels/walker/deviation_dreamer/1/snapshot_2000000.pt task=walker_run
python evaluate.py exp_local/2026.11.27/093000_dreamer/finetuned_snapshot.pt csv=returns.csv json=returns.json

Mean actions, no learning. Of an agent with skills each is followed for the same episodes, from the same starts; where
it decides by itself what to do, that is played as well. Episode e begins the same way in every call with the same seed,
whatever the agent. Options are written key=value or --key value.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from agents.agent import Acts
from analysis.snapshot_tool import ACTING, add_named, build_env, check_request, progress
from envs.make import canonical_task, validate_task
from training.evaluation import play
from training.fitting import check_domain
from training.named_snapshot import absolute, read_named
from training.pretrained import Pretrained
from training.restored import restore_agent
from utils.errors import UserError, exit_status
from utils.report import write_file, write_json
from utils.seeding import derive, own_randomness
from utils.statistics import iqm
from utils.words import parse_words

OWN = "own choice"
"""What is played where the agent decides by itself."""

COLUMNS = ("task", "played", "episode", "return", "length")

MOST_EPISODES = 100_000


class Episode(NamedTuple):
    """One that was played."""

    played: str
    """Name of the skill that was followed, or :data:`OWN`."""
    episode: int
    """Which start, from 0 on."""
    reward: float
    """Sum of the task's rewards."""
    length: int
    """Frames."""


def to_play(agent: Acts, asked: str) -> dict[str, torch.Tensor | None]:
    """What of an agent is played, by name: its skills (n,) as ``asked`` for (``all``, ``none``, or their numbers with
    commas), and None for its own choice if it has one. Raises :class:`UserError` for skills it has not.
    """
    own: dict[str, torch.Tensor | None] = {} if agent.tries_skills else {OWN: None}
    if not agent.shown.dim:
        if asked not in ("all", "none"):
            raise UserError(f"skills={asked}: agent={agent.name} has no skills. Leave it out.")
        return own
    candidates = agent.shown.candidates(agent.device)
    if asked == "none":
        if not own:
            raise UserError(f"skills=none: agent={agent.name} has chosen none of its skills yet. Leave it out.")
        return own
    words = range(len(candidates)) if asked == "all" else asked.split(",")
    numbers = [int(word) for word in words if str(word).strip().isdecimal() and int(word) < len(candidates)]
    if len(numbers) != len(words):
        raise UserError(
            f"skills={asked} is not possible: set it to all, none, or numbers from 0 to {len(candidates) - 1} with "
            "commas between them."
        )
    return own | {f"{agent.shown.name(candidates[number])}": candidates[number] for number in numbers}


@torch.no_grad()
def play_all(
    agent: Acts,
    env: gymnasium.Env,
    played: Mapping[str, torch.Tensor | None],
    episodes: int,
    *,
    seed: int,
    action_repeat: int,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Episode]:
    """So many starts of ``env``, each with everything that is to be ``played``; in the order of starts."""
    found: list[Episode] = []
    for number in range(episodes):
        before = env.get_state()  # type: ignore[attr-defined]
        for name, skill in played.items():
            env.set_state(before)  # type: ignore[attr-defined]
            with own_randomness(agent.device, derive(seed, ACTING, number)):
                one = play(agent, env, skill)
            assert one is not None
            found.append(Episode(name, number, one.reward, (len(one.images) - 1) * action_repeat))
            tell(f"start {number + 1}/{episodes}, {name}: return {one.reward:.1f}")
    return found


def summary(found: Sequence[Episode]) -> dict[str, Any]:
    """The numbers of the report in plain values: by what was played, and the best of the skills."""
    returns: dict[str, list[float]] = {}
    for one in found:
        returns.setdefault(one.played, []).append(one.reward)
    table: dict[str, Any] = {
        name: {"mean": float(np.mean(own)), "std": float(np.std(own)), "iqm": float(iqm(own)), "returns": own}
        for name, own in returns.items()
    }
    skills = {name: row["mean"] for name, row in table.items() if name != OWN}
    best = {"best_skill": max(skills, key=lambda name: float(skills[name]))} if skills else {}
    return {"played": table, **best}


def show(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"snapshot   {report['snapshot']} ({report['agent']}, {report['frames']} frames)",
        f"task       {report['task']}, {report['episodes']} episodes each, seed {report['seed']}",
        f"{'played':<24}{'mean':>8}{'std':>8}{'IQM':>8}{'least':>8}{'most':>8}",
    ]
    for name, row in report["played"].items():
        values = (row["mean"], row["std"], row["iqm"], min(row["returns"]), max(row["returns"]))
        lines.append(f"{name:<24}" + "".join(f"{value:8.1f}" for value in values))
    if "best_skill" in report:
        means = [row["mean"] for name, row in report["played"].items() if name != OWN]
        lines.append(f"best: {report['best_skill']}, {max(means):.1f}; mean over the skills {np.mean(means):.1f}")
    return "\n".join(lines)


def evaluate(options: argparse.Namespace) -> tuple[dict[str, Any], list[Episode]]:
    """The report the command line asks for, and its episodes; writes nothing. Raises :class:`UserError`."""
    name = options.snapshot or options.file
    if name is None or (options.snapshot and options.file):
        raise UserError("name one snapshot: evaluate.py snapshot=<file>. --help says more.")
    if not 1 <= options.episodes <= MOST_EPISODES:
        raise UserError(f"episodes={options.episodes} is not possible. Set it to a whole number from 1 to 100000.")
    check_request(options.seed, {"--csv": options.csv, "--json": options.json})
    path = absolute(name)
    content = read_named(path, "snapshot")
    config = content["config"]
    task = config["task"] if options.task is None else _task(options.task, Pretrained(path, content))
    agent = restore_agent(content, named=options.named)
    played = to_play(agent, options.skills)
    env = build_env({**config, "task": task}, options.seed, options.named, content["spec"])
    try:
        found = play_all(
            agent,
            env,
            played,
            options.episodes,
            seed=options.seed,
            action_repeat=config["action_repeat"],
            tell=progress,
        )
    finally:
        env.close()
    report = {
        "snapshot": str(name),
        "agent": content["agent"],
        "frames": content["frame"],
        "commit": content.get("commit"),
        "task": task,
        "episodes": options.episodes,
        "seed": options.seed,
        **summary(found),
    }
    return report, found


def _task(asked: str, source: Pretrained) -> str:
    """The full name of a task of the snapshot's domain; one of an environment of the user's own is as it is."""
    if source.content["config"].get("env_factory") is not None:
        return asked
    task = canonical_task(asked)
    check_domain(source, task, validate_task(task)[0])
    return task


def write_episodes(path: Path, task: str, found: Sequence[Episode]) -> None:
    """A row per episode."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([task, *one] for one in found)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("evaluate.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("file", nargs="?", metavar="SNAPSHOT.pt", help="the snapshot; or snapshot=<file>")
    made.add_argument("--snapshot", metavar="FILE", help="any that dreamer_finetune.py or drq_train.py starts from")
    made.add_argument("--task", help="of the snapshot's domain (default: the snapshot's own)")
    made.add_argument("--episodes", type=int, default=10, help="of everything that is played (default: 10)")
    made.add_argument("--skills", default="all", help="which are played: all, none, or numbers: 0,3,5 (default: all)")
    made.add_argument("--seed", type=int, default=0, help="of starts and latent states (default: 0)")
    made.add_argument("--csv", type=Path, metavar="PATH", help="write a row per episode to this file")
    made.add_argument("--json", type=Path, metavar="PATH", help="write the numbers to this file")
    add_named(made)
    return made


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Prints the table of one snapshot."""
    options = parse_words(sys.argv[1:] if words is None else words, parser())
    report, found = evaluate(options)
    print(show(report))
    write_file(options.csv, lambda path: write_episodes(path, report["task"], found))
    write_json(options.json, report)
