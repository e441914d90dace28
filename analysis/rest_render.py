"""Show what the skills of rest_train.py do: videos, a figure of where they go, their positions as CSV, and measures as
JSON. Options are written --key value or key=value; without any the newest models are shown.

python rest_render.py
python rest_render.py --timestamp 2026-11-27T09-00-00 --epoch 49 --skid 9
python rest_render.py env=HalfCheetah episode_per_skill=10 videos=0
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.rest.agent import RestMode
from analysis.episodes import play
from analysis.skill_models import Restored, restore_skills
from analysis.trajectories import locomotion_metrics, maze_metrics
from envs.on_policy import Known, make_rollouts
from training.rest_parts import environment
from training.skill_models import Turned, find
from utils.errors import UserError, exit_status
from utils.folders import check_writable
from utils.report import write_file, write_json
from utils.seeding import derive, seed_everything
from utils.skill_plot import Scene, Written, lines_over_time, paths_among_walls, paths_side_by_side
from utils.video import save_video
from utils.words import parse_words

CELLS = 20
"""Of the grid over a maze, to a side."""

EPISODES = {"body": 5, "maze": 20}
"""Of each skill, where nothing else is asked for: as published."""

MOST_EPISODES = 10_000
"""Of each skill: an environment plays each of them."""

MOST_PATHS = 36
"""In a figure of a maze, about: of more one sees nothing."""

LIMITS = (-10.0, 25.0)
"""x in m, of the published figure."""

# what each random stream is for
ENVS, ACTIONS = range(2)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("rest_render.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--num_skills", type=int, help="how many the models are of, to make sure of it (default: all)")
    made.add_argument("--env", help="environment of the models, to make sure of it (default: theirs)")
    made.add_argument("--timestamp", help="run, by the name of its folder of models (default: the newest)")
    made.add_argument("--epoch", type=int, help="cycle (default: the last)")
    made.add_argument("--skid", type=int, help="skill whose turn had ended (default: the last)")
    made.add_argument("--traj_len", type=int, help="steps of an episode, at most (default: as in training)")
    made.add_argument("--episode_per_skill", type=int, help="default: 5, in mazes 20")
    made.add_argument("--deterministic", action="store_true", help="mean actions (default: sampled, as published)")
    made.add_argument("--videos", type=int, default=1, help="episodes of each skill that are filmed (default: 1)")
    made.add_argument("--render_quality", default="lite", help="of videos: lite or full (default: lite)")
    made.add_argument("--published_axes", action="store_true", help="x from -10 to 25 m, as in the paper")
    made.add_argument("--seed", type=int, default=0, help="of episodes and sampled actions (default: 0)")
    made.add_argument(
        "--models", default="rnd_models_single_run", help="where they are (default: rnd_models_single_run)"
    )
    made.add_argument("--out", default=".", help="where videos/ and renders/ are made (default: here)")
    return made


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Plays every skill and writes what came of it."""
    asked = parse_words(sys.argv[1:] if words is None else words, parser())
    _check(asked)
    turned = find(Path(asked.models), asked.timestamp, asked.epoch, asked.skid)
    restored = restore_skills(turned, asked.env)
    env = environment(restored.settings)
    if asked.num_skills not in (None, count := restored.agent.num_skills):
        raise UserError(
            f"--num_skills={asked.num_skills}: {turned.path} holds {count} skills. Name that, or leave it out."
        )
    episodes = asked.episode_per_skill or EPISODES["body" if env.maze is None else "maze"]
    print(f"models: {turned.path}, {restored.agent.num_skills} skills of {env.name}, {episodes} episodes of each")
    run, name = turned.path.parts[-4], f"{turned.cycle}_{turned.skill}"
    paths = _played(restored, asked, episodes, Path(asked.out) / "videos" / run / name)
    stem = Path(asked.out) / "renders" / f"{run}_{name}"
    measures = _measures(paths, env)
    _write_paths(stem.with_name(f"{stem.name}_path.csv"), paths)
    write_json(stem.with_name(f"{stem.name}_metrics.json"), _described(turned, restored, asked, episodes) | measures)
    figure = _drawn(paths, env, stem.with_name(f"{stem.name}_path"), asked.published_axes)
    for line in _summary(measures, env):
        print(line)
    print(
        f"to look at: {figure.png} and {figure.pdf.name}, {stem.name}_path.csv and {stem.name}_metrics.json beside it"
    )


def _check(asked: argparse.Namespace) -> None:
    most = MOST_EPISODES
    for key, low, high in (
        ("traj_len", 1, None),
        ("episode_per_skill", 1, most),
        ("videos", 0, None),
        ("seed", 0, None),
    ):
        value = getattr(asked, key)
        if value is not None and (value < low or (high is not None and value > high)):
            to = "" if high is None else f" to {high}"
            raise UserError(f"--{key}={value} is not possible. Set it to a whole number from {low}{to}.")
    if asked.render_quality not in ("lite", "full"):
        raise UserError(f"--render_quality={asked.render_quality} is not known. Allowed: lite, full.")
    for folder in ("videos", "renders"):
        check_writable("--out", str(Path(asked.out, folder)))


def _played(restored: Restored, asked: argparse.Namespace, episodes: int, videos: Path) -> list[list[np.ndarray]]:
    """Paths (T + 1, 2) of every skill's episodes, the first of which are filmed."""
    agent, settings = restored
    seed_everything(derive(asked.seed, ACTIONS))
    filmed = min(asked.videos, episodes)
    envs = make_rollouts(
        environment(settings),
        episodes,
        seed=derive(asked.seed, ENVS),
        terminate_when_unhealthy=settings.terminate_when_unhealthy,
        pictures=filmed > 0,
        render_quality=asked.render_quality,
    )
    mode: RestMode = "eval" if asked.deterministic else "train"
    length = asked.traj_len or settings.traj_len
    found: list[list[np.ndarray]] = []
    try:
        for skill in range(agent.num_skills):
            frames: list[list[np.ndarray]] = [[] for _ in range(filmed)]

            def act(obs: np.ndarray, skill: int = skill) -> np.ndarray:
                return agent.act(torch.from_numpy(obs), skill, mode)[0].numpy()

            def film(index: int, frames: list[list[np.ndarray]] = frames) -> None:
                if index < filmed:
                    frames[index].append(envs.render(index))

            found.append([one.path for one in play(envs, act, length, watch=film if filmed else None)])
            for number, shown in enumerate(frames):
                save_video(np.stack(shown), videos / f"skill{skill}" / f"{number}.mp4", envs.render_fps)
            print(f"skill {skill}: {_lengths([len(path) - 1 for path in found[-1]])}", flush=True)
    finally:
        envs.close()
    if filmed:
        print(f"videos: {videos}")
    return found


def _lengths(steps: list[int]) -> str:
    """Episodes of so many steps, in words."""
    least, most = min(steps), max(steps)
    return f"{len(steps)} episodes of {least if least == most else f'{least} to {most}'} steps"


def _measures(paths: list[list[np.ndarray]], env: Known) -> dict[str, Any]:
    return locomotion_metrics(paths) if env.maze is None else maze_metrics(paths, env.maze.free_cells(CELLS))


def _described(turned: Turned, restored: Restored, asked: argparse.Namespace, episodes: int) -> dict[str, Any]:
    settings = restored.settings
    return {
        "models": str(turned.path),
        "env": settings.task,
        "method": settings.method,
        "num_skills": settings.num_skills,
        "epoch": turned.cycle,
        "skid": turned.skill,
        "episodes_per_skill": episodes,
        "traj_len": min(asked.traj_len or settings.traj_len, environment(settings).steps),
        "actions": "mean" if asked.deterministic else "sampled",
        "seed": asked.seed,
    }


def _drawn(paths: list[list[np.ndarray]], env: Known, out: Path, published: bool) -> Written:
    if env.maze is not None:
        shown, scene = max(1, MOST_PATHS // len(paths)), Scene(env.maze.segments, env.maze.start)
        title = Path(env.name).stem
        paths_side_by_side(paths, scene, out.with_name(f"{out.name}_each"), title=title)
        return paths_among_walls([skill[:shown] for skill in paths], scene, out, title=title)
    along = [[path[:, 0] for path in skill] for skill in paths]
    return lines_over_time(along, out, title=env.name, limits=LIMITS if published else None)


def _write_paths(path: Path, paths: list[list[np.ndarray]]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("skill", "episode", "step", "x", "y"))
            for skill, episodes in enumerate(paths):
                for episode, places in enumerate(episodes):
                    rows.writerows((skill, episode, step, f"{x:.6g}", f"{y:.6g}") for step, (x, y) in enumerate(places))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, write)


def _summary(measures: dict[str, Any], env: Known) -> list[str]:
    """What is worth a line on the console."""
    if env.maze is not None:
        return [
            f"state coverage: {measures['state_coverage_percent']:.1f} % of {measures['cells']} cells that can be "
            f"reached ({measures['grid'][0]} x {measures['grid'][1]} in all), one trajectory of each skill",
            f"mutual information: {measures['mutual_information']:.2f} nats, at most "
            f"{measures['mutual_information_at_most']:.2f}",
        ]
    ours = measures["not_in_paper"]
    rows = [
        f"skill {row['skill']}: final x {row['final_x']['mean']:.1f} m (+- {row['final_x']['std']:.1f}), from "
        f"{row['min_x']['mean']:.1f} to {row['max_x']['mean']:.1f}, {row['length']['mean']:.0f} steps"
        for row in measures["per_skill"]
    ]
    return [
        *rows,
        f"all skills (measures of ours, not in the paper): {ours['x_bins_visited']} bins of 1 m, mutual information "
        f"{ours['x_mutual_information']:.2f} of {ours['x_mutual_information_at_most']:.2f} nats, final x differs by "
        f"{ours['final_x_range_over_skills']:.1f} m",
    ]
