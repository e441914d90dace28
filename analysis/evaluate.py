"""Play a snapshot on any task of its domain and write down what every episode has brought.

python evaluate.py snapshot=pretrained_models/pixels/walker/deviation_dreamer/1/snapshot_2000000.pt task=walker_run
python evaluate.py exp_local/2026.11.27/093000_dreamer/finetuned_snapshot.pt csv=returns.csv json=returns.json
python evaluate.py snapshot=rnd_models_single_run/2026-11-27T09-00-00 episodes=20 video=skills.mp4

Mean actions, no learning. Of an agent with skills each is followed for the same episodes, from the same starts; where
it decides by itself what to do, that is played as well. Episode e begins the same way in every call with the same seed,
whatever the agent. Intervals are of the mean over episodes, 95 %, by bootstrap. Options are written key=value or
--key value.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import torch

from agents.agent import Acts
from analysis.clips import Films, at_size, check_video, grid, write_video
from analysis.rest_play import chosen, models_at, walks
from analysis.returns import OWN, Episode, show, summary, write_episodes
from analysis.skill_models import restore_skills
from analysis.snapshot_tool import ACTING, add_named, build_env, check_request, needs_pictures, progress
from envs.make import canonical_task, validate_task
from training import checkpoint
from training.evaluation import Picture, play
from training.fitting import check_domain
from training.named_snapshot import absolute, read_named
from training.pretrained import Pretrained
from training.restored import restore_agent
from training.skill_models import Turned, model_path
from utils.errors import UserError, exit_status
from utils.report import write_file, write_json
from utils.seeding import derive, own_randomness
from utils.video import Frames
from utils.words import parse_words

MOST_EPISODES = 100_000


class Evaluated(NamedTuple):
    """What the command line asked for."""

    report: dict[str, Any]
    episodes: list[Episode]
    video: Frames | None
    """The first episode of all that was played, uint8 (T, H, W, 3); None where none is wanted."""


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
    picture: Picture | None = None,
    films: Films | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Episode]:
    """So many starts of ``env``, each with everything that is to be ``played``; in the order of starts. What
    ``picture`` shows of the first goes to ``films``.
    """
    found: list[Episode] = []
    for number in range(episodes):
        before = env.get_state()  # type: ignore[attr-defined]
        filmed = films is not None and number == 0
        for name, skill in played.items():
            env.set_state(before)  # type: ignore[attr-defined]
            with own_randomness(agent.device, derive(seed, ACTING, number)):
                one = play(agent, env, skill, picture=picture if filmed else None)
            assert one is not None
            if films is not None and filmed:
                films.add(name, one.pictures)
            found.append(Episode(name, number, one.reward, (len(one.images) - 1) * action_repeat))
            tell(f"start {number + 1}/{episodes}, {name}: return {one.reward:.1f}")
    return found


def evaluate(options: argparse.Namespace) -> Evaluated:
    """What the command line asks for; writes nothing. Raises :class:`UserError`."""
    name = options.snapshot or options.file
    if name is None or (options.snapshot and options.file):
        raise UserError("name one snapshot: evaluate.py snapshot=<file>. --help says more.")
    if not 1 <= options.episodes <= MOST_EPISODES:
        raise UserError(f"episodes={options.episodes} is not possible. Set it to a whole number from 1 to 100000.")
    check_video("--video", options.video, options.size)
    check_request(options.seed, {"--csv": options.csv, "--json": options.json, "--video": options.video})
    if (turned := models_at(absolute(name))) is not None:
        return _of_models(turned, options)
    path = absolute(name)
    content = read_named(path, "snapshot")
    config = content["config"]
    task = config["task"] if options.task is None else task_of(options.task, Pretrained(path, content))
    agent = restore_agent(content, named=options.named)
    played = to_play(agent, options.skills)
    if options.video is not None:
        needs_pictures("--video", config)
    env = build_env({**config, "task": task}, options.seed, options.named, content["spec"])
    films = None if options.video is None else Films(len(played))
    try:
        found = play_all(
            agent,
            env,
            played,
            options.episodes,
            seed=options.seed,
            action_repeat=config["action_repeat"],
            picture=None if films is None else at_size(env, options.size),
            films=films,
            tell=progress,
        )
    finally:
        env.close()
    return Evaluated(_report(content, task, options, found), found, None if films is None else grid(films.clips()))


def _of_models(turned: Turned, options: argparse.Namespace) -> Evaluated:
    """The same of the skills of ReST, in their own environment."""
    restored = restore_skills(turned, options.task)
    skills = chosen(restored.agent.num_skills, options.skills)
    size = None if options.video is None else options.size
    made = walks(restored, skills, options.episodes, seed=options.seed, size=size, tell=progress)
    found = [
        Episode(one.name, number, one.episodes[number].reward, len(one.episodes[number].path) - 1)
        for number in range(options.episodes)
        for one in made
    ]
    content = checkpoint.load(model_path(turned.path, 0), "snapshot")
    films = Films(len(made))
    for one in made:
        films.add(one.name, one.frames)
    report = _report(content, restored.settings.task, options, found)
    return Evaluated(report, found, None if size is None else grid(films.clips()))


def _report(
    content: Mapping[str, Any], task: str, options: argparse.Namespace, found: Sequence[Episode]
) -> dict[str, Any]:
    return {
        "snapshot": str(options.snapshot or options.file),
        "agent": content["agent"],
        "frames": content["frame"],
        "commit": content.get("commit"),
        "task": task,
        "floor": content["config"].get("floor", "default"),
        "episodes": options.episodes,
        "seed": options.seed,
        **summary(found),
    }


def task_of(asked: str, source: Pretrained) -> str:
    """The full name of a task of the snapshot's domain; one of an environment of the user's own is as it is."""
    if source.content["config"].get("env_factory") is not None:
        return asked
    task = canonical_task(asked)
    check_domain(source, task, validate_task(task)[0])
    return task


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("evaluate.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("file", nargs="?", metavar="SNAPSHOT.pt", help="the snapshot; or snapshot=<file>")
    made.add_argument(
        "--snapshot",
        metavar="FILE",
        help="any that dreamer_finetune.py or drq_train.py starts from, or a folder of rest_train.py's models",
    )
    made.add_argument("--task", help="of the snapshot's domain (default: the snapshot's own)")
    made.add_argument("--episodes", type=int, default=10, help="of everything that is played (default: 10)")
    made.add_argument("--skills", default="all", help="which are played: all, none, or numbers: 0,3,5 (default: all)")
    made.add_argument("--seed", type=int, default=0, help="of starts and latent states (default: 0)")
    made.add_argument("--csv", type=Path, metavar="PATH", help="write a row per episode to this file")
    made.add_argument("--json", type=Path, metavar="PATH", help="write the numbers to this file")
    made.add_argument(
        "--video", type=Path, metavar="PATH", help="film the first start of all that is played: .mp4, .gif"
    )
    made.add_argument("--size", type=int, default=128, help="pixels a side, of each in the video (default: 128)")
    add_named(made)
    return made


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Prints the table of one snapshot."""
    options = parse_words(sys.argv[1:] if words is None else words, parser())
    report, found, video = evaluate(options)
    print(show(report))
    write_file(options.csv, lambda path: write_episodes(path, report["task"], found))
    write_json(options.json, report)
    if video is not None:
        print(f"video: {write_video(video, options.video)}")
