"""What the skills of a snapshot cover: an episode each, and the squares of a metre that these visit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from agents.agent import Acts
from agents.skills import Cube, SkillSpace, UnitSphere
from analysis.cells import MEASURES, coverage
from analysis.places import positions, root, visited
from analysis.snapshot_tool import ACTING, build_env, read_snapshot
from training.evaluation import play
from training.restored import restore_agent
from utils.errors import UserError
from utils.seeding import derive, own_randomness
from utils.skill_plot import lines_over_time, paths_from_above

MOST_SKILLS = 10_000


class SkillCoverage(NamedTuple):
    """What :func:`skill_coverage` found."""

    path: Path
    facts: dict[str, Any]
    """Plain values: what was played, and the counts."""
    names: list[str]
    """Of E episodes, the skill that each followed."""
    followed: list[NDArray[np.float64]]
    """Where each was, (T + 1, 1) or (T + 1, 2) in m, its start and end included."""

    def line(self) -> str:
        """One line for people."""
        told = self.facts
        cells = "" if told["bins"] is None else f"  {told['bins']} bins"
        floor = "" if told["floor"] == "default" else f"  floor={told['floor']}"
        return f"{self.path}  {told['episodes']} episodes  {told['places']} places of 1 m{cells}{floor}"


def even_skills(space: SkillSpace, count: int, device: torch.device) -> torch.Tensor:
    """``count`` skills (count, dim) for as many episodes: of a continuous space draws, else all candidates in turn."""
    if isinstance(space, UnitSphere | Cube):
        return space.sample(count, device)
    candidates = space.candidates(device)
    return candidates[torch.arange(count, device=device) % len(candidates)]


@torch.no_grad()
def skill_coverage(
    path: Path,
    skills: int,
    seed: int = 0,
    *,
    named: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> SkillCoverage:
    """One episode with mean actions for each of ``skills`` skills, from starts of their own; all of its states count.

    Raises:
        UserError: no such snapshot, a domain whose places are not known, or an impossible number.
    """
    if not 1 <= skills <= MOST_SKILLS:
        raise UserError(f"--skills={skills} is not possible. Set it to a whole number from 1 to {MOST_SKILLS}.")
    content = read_snapshot(path, "snapshot")
    config = content["config"]
    domain = config["domain"]
    root(domain)  # before anything is built
    agent = restore_agent(content, named=named)
    env = build_env(config, seed, named, content["spec"])
    try:
        names, states = _episodes(agent, env, skills, seed, tell)
    finally:
        env.close()
    every = np.concatenate(states)
    facts = {
        "snapshot": str(path),
        "agent": content["agent"],
        "frames": content["frame"],
        "commit": content.get("commit"),
        "task": config["task"],
        "floor": config.get("floor", "default"),
        "seed": seed,
        "episodes": skills,
        "places": visited(domain, every),
        "bins": coverage(domain, every) if domain in MEASURES else None,
    }
    return SkillCoverage(path, facts, names, [positions(domain, one) for one in states])


def _episodes(
    agent: Acts, env: gymnasium.Env, count: int, seed: int, tell: Callable[[str], None]
) -> tuple[list[str], list[NDArray[np.float64]]]:
    with own_randomness(agent.device, derive(seed, ACTING)):
        drawn = even_skills(agent.shown, count, agent.device)
    names, states = [], []
    for number, skill in enumerate(drawn):
        with own_randomness(agent.device, derive(seed, ACTING, number)):
            one = play(agent, env, skill)
        assert one is not None
        names.append(agent.shown.name(skill))
        states.append(one.states)
        tell(f"episode {number + 1}/{count}, {names[-1]}")
    return names, states


def draw(found: SkillCoverage, out: Path) -> Path:
    """Draw x over time, or the paths seen from above, an episode of a skill in its colour; returns the picture."""
    order = sorted(set(found.names), key=found.names.index)
    grouped = [[one for name, one in zip(found.names, found.followed, strict=True) if name == own] for own in order]
    title = f"{found.facts['agent']}, {found.facts['frames']:,} frames: {found.facts['places']} places of 1 m"
    if found.followed[0].shape[1] == 1:
        return lines_over_time([[one[:, 0] for one in own] for own in grouped], out, title=title).png
    return paths_from_above(grouped, out, title=title).png
