"""What the tools that play the agent of a snapshot share: ``skill_probe`` and ``planner_probe``."""

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import gymnasium

from envs.gl import pictures_if_possible
from envs.make import make
from envs.settings import VariantKeys
from training import checkpoint
from training.named_snapshot import near
from training.parts import env_arguments, plain_spec
from utils.errors import UserError
from utils.own_code import options, refuse_unnamed
from utils.regular import check_file, kind_of
from utils.report import check_output
from utils.seeding import derive
from utils.settings import parse, pick

ANY_SNAPSHOT = "a file that snapshot= of dreamer_finetune.py or drq_train.py would start from"
"""Help on the file that a tool takes."""

# what each random stream of a tool is for
ENV, ACTING = range(2)


def check_request(seed: int, outputs: Mapping[str, Path | None]) -> None:
    """Raise :class:`UserError` for an impossible ``--seed``, or a file (by its option) that could not be written,
    or would be written over one of another kind.

    Made at the start rather than after the episodes.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed={seed} is not possible. Set it to a whole number from 0 to {2**32 - 1}.")
    for option, path in outputs.items():
        if path is not None:
            check_output(option, path)


def read_snapshot(path: Path, wanted: str) -> dict[str, Any]:
    """The content of a snapshot file. Raises :class:`UserError`, which says what is ``wanted``, when there is none."""
    if kind_of(path) != "a file":
        check_file(path, f"Name a {wanted}.{near(path)}")
    return checkpoint.load(path, "snapshot")


def build_env(
    config: Mapping[str, Any], seed: int, named: Collection[str | None] = (), spec: Mapping[str, Any] | None = None
) -> gymnasium.Env:
    """The environment of the task and rendering in ``config``, with its own initial states.

    Raises :class:`UserError` where there is none, its code is neither this project's nor among the import paths that
    are ``named``, or what it shows and takes is not the ``spec`` of the snapshot.
    """
    refuse_unnamed(config, named, "the snapshot", options)
    settings = parse(VariantKeys, pick(VariantKeys, config))
    env = make(settings.task, seed=derive(seed, ENV), **env_arguments(settings))
    spaces: dict[str, Any] = {"observation": env.observation_space["observation"], "action": env.action_space}  # type: ignore[index]
    made = plain_spec({key: (space.shape, space.dtype) for key, space in spaces.items()})
    if spec is not None and made != {key: spec[key] for key in made}:
        env.close()
        raise UserError(
            f"the snapshot is of {dict(spec)}, and its task={settings.task} gives {made}. Take another one."
        )
    return env


def needs_pictures(option: str, config: Mapping[str, Any]) -> None:
    """Settle the renderer for pictures that ``option`` asks for, of an environment that needs none to be observed.

    Raises :class:`UserError` where nothing can be rendered. Before :func:`build_env`, which loads dm_control.
    """
    if config.get("obs_type") == "states" and config.get("env_factory") is None and (why := pictures_if_possible()):
        raise UserError(f"{option} wants pictures, and there are none: {why}. Leave it out, or see docs/headless.md.")


def add_named(parser: argparse.ArgumentParser) -> None:
    """The options with which a user names code of their own."""
    parser.add_argument(
        "--env-factory",
        dest="named",
        action="append",
        default=[],
        metavar="PACKAGE.MAKE",
        help="allows importing it, for a snapshot of an environment of your own",
    )
    parser.add_argument(
        "--import",
        dest="named",
        action="append",
        metavar="PACKAGE.NAME",
        help="the same of an agent, a method or drives of your own; may be given several times",
    )


def progress(line: str) -> None:
    """Show ``line`` to someone who watches a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
