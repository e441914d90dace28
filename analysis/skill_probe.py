"""``python -m analysis.skill_probe SNAPSHOT.pt``: can one tell the skill from where it leads?

Every skill of a snapshot is followed for whole episodes. A linear classifier then has to name the skill from the
agent's own embedding of where an episode ended, on episodes it was not fitted to. ``--untrained`` does the same with
fresh random weights: what an agent reaches that has learned nothing. Where the agent has a discriminator that names
skills by images, the report has the share of all steps of these episodes that it names rightly.

The probe's settings are constants, so that numbers of different snapshots can be compared: standardised features,
logistic regression with an L2 penalty of strength 1 / ``PENALTY_C``, and as many folds as there are episodes of a
skill, so that every episode is held out exactly once, in a fold with one of each other skill.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agents.agent import Acts, Agent
from agents.nn.observations import is_image
from analysis.cells import MEASURES, coverage
from analysis.snapshot_tool import (
    ACTING,
    ANY_SNAPSHOT,
    add_named,
    build_env,
    check_request,
    needs_pictures,
    read_snapshot,
)
from analysis.snapshot_tool import progress as show_progress
from training.camera import Camera
from training.evaluation import Picture, Played, play
from training.judged import Judged, judge, share_named
from training.restored import restore_agent
from utils.errors import UserError, exit_status
from utils.report import write_file, write_json
from utils.seeding import derive, seed_everything
from utils.statistics import wilson
from utils.video import label, tile, upscale

PENALTY_C = 1.0
"""Inverse strength of the L2 penalty on the classifier's weights."""

MAX_ITERATIONS = 5000
"""Of the classifier's solver."""

FOLD_SEED = 0
"""Shuffles the episodes into folds."""


class Probe(NamedTuple):
    """Share of held-out episodes whose skill was named, and its 95 % interval."""

    accuracy: float
    low: float
    high: float


class Rollouts(NamedTuple):
    """E episodes, skill by skill."""

    features: np.ndarray
    """The agent's embedding of the end of each, float32 (E, F)."""
    labels: np.ndarray
    """Its skill's number among the candidates, int64 (E,)."""
    returns: np.ndarray
    """Sum of the task's rewards, float64 (E,)."""
    frames: np.ndarray
    """Pictures of the ends, uint8 (E, S, S, 3); empty, (0,), where observations are no images and none were taken."""
    states: list[np.ndarray]
    """Simulator states of each episode, reset included, float64 (T, P)."""
    judged: list[Judged]
    """What the agent's discriminator says of each; empty without one."""


def probe(features: np.ndarray, labels: np.ndarray) -> Probe:
    """How well ``labels`` (E,) can be told from ``features`` (E, F) of held-out episodes.

    Raises ``ValueError`` unless all of two labels or more have the same number of episodes, two at least.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2 or counts.min() != counts.max():
        raise ValueError(
            f"episodes per label are {counts.tolist()}; wanted equal counts of 2 or more, 2 labels or more"
        )
    folds = StratifiedKFold(n_splits=int(counts[0]), shuffle=True, random_state=FOLD_SEED)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_C, max_iter=MAX_ITERATIONS))
    hits = int((cross_val_predict(classifier, features, labels, cv=folds) == labels).sum())
    return Probe(hits / len(labels), *wilson(hits, len(labels)))


def load_agent(
    path: Path, seed: int, *, untrained: bool = False, named: Collection[str] = ()
) -> tuple[Agent, dict[str, Any]]:
    """The agent of the snapshot ``path`` on the CPU, and the snapshot's content.

    ``named`` are the import paths that the user names. With ``untrained`` the weights are fresh, drawn from ``seed``.
    Raises :class:`UserError` when there is no such file, its agent has no skills to tell apart, or its weights do not
    fit.
    """
    content = read_snapshot(path, "snapshot file, such as .../snapshot_100000.pt")
    seed_everything(seed)
    agent = restore_agent(content, untrained=untrained, named=named)
    if len(skills_of(agent)) < 2:
        raise UserError(f"{path} is of agent={content['agent']}, which has no skills to tell apart.")
    return agent, content


def skills_of(agent: Acts) -> torch.Tensor:
    """The skills that stand for all, (n, skill_dim): (1, 0) for an agent without."""
    return agent.shown.candidates(agent.device)


@torch.no_grad()
def rollouts(
    agent: Acts,
    env: gymnasium.Env,
    episodes: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
    picture: Picture | None = None,
) -> Rollouts:
    """``episodes`` episodes of each skill, held throughout, with the policy's mean actions.

    ``seed`` drives the samples of the latent state. ``progress`` is told of every finished skill. ``picture`` looks at
    ``env`` where observations are no images.
    """
    torch.manual_seed(derive(seed, ACTING))
    skills = skills_of(agent)
    features, images, returns, states, judged = [], [], [], [], []
    for number, skill in enumerate(skills):
        for _ in range(episodes):
            played = play(agent, env, skill)
            assert played is not None
            features.append(agent.embed(torch.from_numpy(played.images)).float().cpu().numpy())
            if (end := _end(played, picture)) is not None:
                images.append(end)
            returns.append(played.reward)
            states.append(played.states)
            judged.append(judge(agent, played.images, skill.cpu().numpy()))
        mean = np.mean(returns[-episodes:])
        progress(f"{agent.shown.name(skill)} ({number + 1}/{len(skills)}): mean return {mean:.1f}")
    return Rollouts(
        np.stack(features),
        np.repeat(np.arange(len(skills)), episodes),
        np.array(returns),
        np.array(images),
        states,
        [one for one in judged if one is not None],
    )


def _end(played: Played, picture: Picture | None) -> np.ndarray | None:
    """What was to be seen at the end of an episode that has just been played, uint8 (S, S, 3)."""
    if len(played.shown):
        return played.shown[-1]
    return None if picture is None else picture()


def summary(made: Rollouts, found: Probe, names: Sequence[str], domain: str) -> dict[str, Any]:
    """The numbers of the report, in plain values; ``names`` are those of the skills.

    ``discriminator`` is there for an agent that has one, coverage for bodies that are measured.
    """
    skills = len(names)
    judged = {"discriminator": share_named(made.judged)} if made.judged else {}
    return {
        "skills": skills,
        "episodes": len(made.labels) // skills,
        "accuracy": found.accuracy,
        "interval": [found.low, found.high],
        "chance": 1 / skills,
        "times_chance": found.accuracy * skills,
        **judged,
        "returns": {name: float(made.returns[made.labels == k].mean()) for k, name in enumerate(names)},
        **covered(made, names, domain),
    }


def covered(made: Rollouts, names: Sequence[str], domain: str) -> dict[str, Any]:
    """Distinct states of all episodes and of each skill's; nothing for a body without a measure."""
    if domain not in MEASURES or made.states[0].shape[1] != MEASURES[domain].size:
        return {}
    by_skill = [
        np.concatenate([s for s, of in zip(made.states, made.labels, strict=True) if of == k])
        for k in range(len(names))
    ]
    own = [coverage(domain, states) for states in by_skill]
    return {
        "coverage": coverage(domain, np.concatenate(by_skill)),
        "coverage_by_skill": dict(zip(names, own, strict=True)),
        "coverage_mean": float(np.mean(own)),
    }


def table(report: Mapping[str, Any]) -> str:
    """The report for people, a line per quantity."""
    low, high = report["interval"]
    weights = " (untrained weights)" if report["untrained"] else ""
    returns = [f"{name.removeprefix('skill ')}: {value:.1f}" for name, value in report["returns"].items()]
    rows = {
        "snapshot": f"{report['snapshot']}{weights}",
        "frames": f"{report['frames']}",
        "episodes": f"{report['skills']} skills x {report['episodes']}",
        "accuracy": f"{report['accuracy']:.3f}",
        "95 % interval": f"{low:.3f} .. {high:.3f}",
        "chance": f"{report['chance']:.3f}",
        "times chance": f"{report['times_chance']:.1f}",
    }
    if "discriminator" in report:
        rows["discriminator"] = f"{report['discriminator']:.3f} of all steps"
    if "coverage" in report:
        rows["coverage"] = f"{report['coverage']} bins, {report['coverage_mean']:.1f} per skill"
    rows["return by skill"] = "  ".join(returns)
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())


def save_picture(made: Rollouts, path: Path) -> None:
    """Write the pictures of the ends as a grid, a row per skill (numbered in its first image), a column per episode."""
    videos = upscale(made.frames, 2)[:, None]
    episodes = len(videos) // len(np.unique(made.labels))
    for index in range(0, len(videos), episodes):
        videos[index] = label(videos[index], f"skill {made.labels[index]}")
    Image.fromarray(tile(videos, episodes)[0]).save(path, format="png")


def run(options: argparse.Namespace) -> tuple[dict[str, Any], Rollouts]:
    """The report the command line asks for, and the episodes behind it; writes nothing. Raises :class:`UserError`."""
    if options.episodes < 2:
        raise UserError(f"--episodes={options.episodes} is not possible: one is held out, others are learned from.")
    check_request(options.seed, {"--json": options.json, "--frames-png": options.frames_png})
    agent, content = load_agent(options.snapshot, options.seed, untrained=options.untrained, named=options.named)
    config = content["config"]
    if options.frames_png is not None:
        needs_pictures("--frames-png", config)
    env, picture = build_env(config, options.seed, options.named, content["spec"]), None
    try:
        if options.frames_png is not None and not is_image(content["spec"]["observation"][0]):
            picture = Camera(env)
        made = rollouts(agent, env, options.episodes, options.seed, show_progress, picture)
    finally:
        env.close()
    names = [agent.shown.name(skill) for skill in skills_of(agent)]
    report = {
        "snapshot": str(options.snapshot),
        "frames": content["frame"],
        "untrained": options.untrained,
        "seed": options.seed,
        **summary(made, probe(made.features, made.labels), names, config["domain"]),
    }
    return report, made


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m analysis.skill_probe", description=__doc__.split("\n\n")[0])
    made.add_argument("snapshot", type=Path, metavar="SNAPSHOT.pt", help=ANY_SNAPSHOT)
    made.add_argument("--untrained", action="store_true", help="fresh random weights in place of the snapshot's")
    made.add_argument("--episodes", type=int, default=10, help="per skill (default: 10)")
    made.add_argument("--seed", type=int, default=0, help="of the episodes, and of untrained weights (default: 0)")
    add_named(made)
    made.add_argument("--json", type=Path, metavar="PATH", help="write the numbers to this file")
    made.add_argument("--frames-png", type=Path, metavar="PATH", help="write a picture of the last images")
    return made


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one snapshot."""
    options = parser().parse_args(arguments)
    report, made = run(options)
    print(table(report))
    write_json(options.json, report)
    write_file(options.frames_png, lambda path: save_picture(made, path))


if __name__ == "__main__":
    sys.exit(main())
