"""Film the skills of a snapshot again, at any size: a labelled grid of what each does from one and the same start.

python -m analysis.videos pretrained_models/pixels/walker/deviation_dreamer/1/snapshot_2000000.pt size=256
python -m analysis.videos SNAPSHOT.pt skills=0,3 steps=100 seed=4 task=walker_run video=two.gif
python -m analysis.videos rnd_models_single_run/2026-11-27T09-00-00 size=400

Pictures are drawn anew at that size; what an agent of pixels sees stays as it was, and so does what it does. The
policy's mean actions are taken.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from analysis.clips import FPS, Films, at_size, check_video, grid, write_video
from analysis.evaluate import task_of, to_play
from analysis.rest_play import chosen, models_at, walks
from analysis.skill_models import restore_skills
from analysis.snapshot_tool import ACTING, add_named, build_env, check_request, needs_pictures, progress
from training.evaluation import play
from training.named_snapshot import absolute, read_named
from training.pretrained import Pretrained
from training.restored import restore_agent
from utils.errors import UserError, exit_status
from utils.seeding import derive, own_randomness
from utils.words import parse_words


@torch.no_grad()
def filmed(path: Path, options: argparse.Namespace) -> Films:
    """What the command line asks for; writes nothing. Raises :class:`UserError`."""
    if (turned := models_at(path)) is not None:
        restored = restore_skills(turned, options.task)
        skills = chosen(restored.agent.num_skills, options.skills)
        films = Films(len(skills))
        made = walks(restored, skills, 1, seed=options.seed, size=options.size, steps=options.steps, tell=progress)
        for walked in made:
            films.add(walked.name, walked.frames)
        return films
    content = read_named(path)
    config = content["config"]
    task = config["task"] if options.task is None else task_of(options.task, Pretrained(path, content))
    agent = restore_agent(content, named=options.named)
    played = to_play(agent, options.skills)
    needs_pictures("analysis.videos", config)
    env = build_env({**config, "task": task}, options.seed, options.named, content["spec"])
    films = Films(len(played))
    try:
        picture = at_size(env, options.size)
        before = env.get_state()  # type: ignore[attr-defined]
        for name, skill in played.items():
            env.set_state(before)  # type: ignore[attr-defined]
            with own_randomness(agent.device, derive(options.seed, ACTING, 0)):
                one = play(agent, env, skill, steps=options.steps, picture=picture)
            assert one is not None
            films.add(name, one.pictures)
            progress(f"{name}: {len(one.pictures)} pictures")
    finally:
        env.close()
    return films


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m analysis.videos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("snapshot", metavar="SNAPSHOT", help="as for evaluate.py: a file, or a folder of ReST's models")
    made.add_argument("--size", type=int, default=256, help="pixels a side, of each skill (default: 256)")
    made.add_argument("--skills", default="all", help="which are shown: all, none, or numbers: 0,3,5 (default: all)")
    made.add_argument("--steps", type=int, help="of the agent, at most (default: the whole episode)")
    made.add_argument("--task", help="of the snapshot's domain (default: the snapshot's own)")
    made.add_argument("--seed", type=int, default=0, help="of the start and latent states (default: 0)")
    made.add_argument("--video", type=Path, default=Path("skills.mp4"), help=".mp4 or .gif (default: skills.mp4)")
    add_named(made)
    return made


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Writes one video."""
    options = parse_words(sys.argv[1:] if words is None else words, parser())
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps={options.steps} is not possible. Set it to a whole number from 1.")
    check_video("--video", options.video, options.size)
    check_request(options.seed, {"--video": options.video})
    films = filmed(absolute(options.snapshot), options)
    frames = grid(films.clips())
    where = write_video(frames, options.video)
    apart = "" if films.every == 1 else f" {films.every} steps apart"
    print(f"{where}: {len(frames)} pictures{apart}, {frames.shape[2]} x {frames.shape[1]}, {FPS} a second")


if __name__ == "__main__":
    sys.exit(main())
