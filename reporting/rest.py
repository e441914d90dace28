"""The sections on the skills of ReST: what they do, where they go, and how well a place tells which skill it is of."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.clips import Films, grid
from analysis.episodes import play
from analysis.rest_play import SkillWalks, chosen, walks
from analysis.rest_render import CELLS
from analysis.returns import mean
from analysis.skill_models import restore_skills
from analysis.skill_probe import probe
from analysis.snapshot_tool import ENV
from analysis.trajectories import locomotion_metrics, maze_metrics
from envs.on_policy import make_rollouts
from reporting.figures import paths
from reporting.media import video
from reporting.page import Html, figure, joined, paragraph, row, table
from reporting.subject import PICTURE_SIZE, RANDOM, UNIFORM, Effort, NotHere
from training import checkpoint
from training.rest_parts import environment
from training.skill_models import Turned, model_path
from utils.seeding import derive
from utils.statistics import stratified_bootstrap

MOST_WAYS = 3
"""Episodes of each skill in a figure."""


class RestSubject:
    """A folder of models, and what was played of them."""

    def __init__(self, turned: Turned, run: Path | None, effort: Effort, tell: Callable[[str], None]) -> None:
        self.path, self.run, self.effort, self.tell = turned.path, run, effort, tell
        self.restored = restore_skills(turned)
        self.content = checkpoint.load(model_path(turned.path, 0), "snapshot")
        self.numbers: dict[str, Any] = {}
        self.env = environment(self.restored.settings)

    @cached_property
    def made(self) -> list[SkillWalks]:
        """What every skill did."""
        effort, count = self.effort, self.restored.agent.num_skills
        skills = chosen(count, effort.skills or "all")
        return walks(
            self.restored, skills, effort.episodes, seed=effort.seed, size=PICTURE_SIZE, sampled=True, tell=self.tell
        )

    @cached_property
    def random(self) -> list[list[np.ndarray]]:
        """Ways (T + 1, 2) of random actions, as many episodes as of all skills."""
        settings, seed = self.restored.settings, derive(self.effort.seed, UNIFORM)
        generator = np.random.default_rng(seed)
        envs = make_rollouts(self.env, self.effort.episodes, seed=derive(self.effort.seed, ENV))
        try:
            return [
                [
                    one.path
                    for one in play(
                        envs,
                        lambda obs: generator.uniform(-1, 1, (len(obs), self.env.actions)).astype(np.float32),
                        settings.traj_len,
                    )
                ]
                for _ in self.made
            ]
        finally:
            envs.close()

    @property
    def ways(self) -> list[list[np.ndarray]]:
        """Of every skill, (T + 1, 2) an episode."""
        return [[one.path for one in own.episodes] for own in self.made]


def skills(subject: RestSubject) -> Html:
    """Films, and the ways in one figure."""
    films = Films(len(subject.made))
    for own in subject.made:
        films.add(own.name, own.frames)
    shown, size = video(grid(films.clips()), f"Video grid of {len(subject.made)} skills from the same start")
    maze = subject.env.maze
    ways = [own[:MOST_WAYS] for own in subject.ways]
    if maze is None:
        drawn = [[np.stack([np.arange(len(way)), way[:, 0]], 1) for way in own] for own in ways]
        named = ("steps", "x position (m)")
    else:
        drawn, named = ways, ("x (sides of the maze)", "y (sides of the maze)")
    walls = np.empty((0, 2, 2)) if maze is None else np.asarray(maze.segments, np.float64)
    lines = paths(drawn, walls, f"Ways of {len(ways)} skills", named)
    about = f"The first start of each; actions are sampled, as published ({size})."
    ends = "Where skills go; a dot and the skill's number at the end."
    return row(figure(shown, about, "wide"), figure(lines, ends))


def covered(subject: RestSubject) -> Html:
    """How much of a maze, or of the x axis, skills and random actions get to."""
    maze = subject.env.maze
    if maze is not None:
        free = maze.free_cells(CELLS)
        ours, theirs = (maze_metrics(ways, free)["state_coverage_percent"] for ways in (subject.ways, subject.random))
        subject.numbers["coverage"] = (f"{ours:.0f} %", f"{theirs:.0f} %")
        rows = [("all skills", f"{ours:.1f} %"), (f"{RANDOM}, as many episodes", f"{theirs:.1f} %")]
        about = (
            f"Cells of a {CELLS} x {CELLS} grid over the maze that at least one skill visits, one trajectory of each "
            "(Jiang et al. 2022)."
        )
        shown = table(("followed", "cells"), rows, "State coverage", shaded=[[ours / 100], [theirs / 100]])
        return joined(paragraph(about), shown)
    found = [locomotion_metrics(ways)["not_in_paper"]["x_bins_visited"] for ways in (subject.ways, subject.random)]
    subject.numbers["coverage"] = tuple(found)
    ends = [
        (own.name, *(f"{measured[key]['mean']:.1f}" for key in ("final_x", "min_x", "max_x", "length")))
        for own, measured in zip(subject.made, locomotion_metrics(subject.ways)["per_skill"], strict=True)
    ]
    about = (
        f"Bins of 1 m on the x axis that are visited: {found[0]} by the skills, {found[1]} by random actions in as "
        "many episodes."
    )
    shown = table(("followed", "last x (m)", "least", "most", "steps"), ends, "How far along x, means over episodes")
    return joined(paragraph(about), shown)


def told_apart(subject: RestSubject) -> Html:
    """How well a place tells the skill, and whether a classifier names it from where an episode ends."""
    ways, maze = subject.ways, subject.env.maze
    measures = locomotion_metrics(ways)["not_in_paper"] if maze is None else maze_metrics(ways, maze.free_cells(CELLS))
    key = "x_mutual_information" if maze is None else "mutual_information"
    most = f"at most {measures[f'{key}_at_most']:.2f}"
    rows = [("a state: mutual information, nats", f"{measures[key]:.2f}", most, "0")]
    if subject.effort.episodes > 1 and len(ways) > 1:
        ends = np.stack([way[-1] for own in ways for way in own]).astype(np.float32)
        labels = np.repeat(np.arange(len(ways)), subject.effort.episodes)
        found = probe(ends, labels)
        subject.numbers["probe"] = (found, 1 / len(ways))
        between = f"{found.low:.2f} .. {found.high:.2f}"
        rows.append(("the end of an episode: share named", f"{found.accuracy:.2f}", between, f"{1 / len(ways):.2f}"))
    return table(("skill told from", "found", "95 % interval, or most", "chance"), rows, "Skills told apart by place")


def returns(subject: RestSubject) -> Html:
    """The environment's own rewards."""
    own = {one.name: [episode.reward for episode in one.episodes] for one in subject.made}
    if not any(any(values) for values in own.values()):
        raise NotHere(f"{subject.env.name} has no rewards.")
    rows = []
    for name, values in own.items():
        found = stratified_bootstrap([values], mean)
        rows.append((name, *(f"{value:.1f}" for value in found)))
    return table(("followed", "mean", "from", "to"), rows, f"Returns in {subject.env.name}, 95 % bootstrap")
