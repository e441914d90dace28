"""What the tools that play the agent of a snapshot share: ``skill_probe`` and ``planner_probe``."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium

from envs.contract import refuse_unnamed
from envs.make import make
from envs.settings import EnvironmentKeys
from training import checkpoint
from training.parts import env_arguments
from utils.errors import UserError
from utils.folders import check_writable
from utils.seeding import derive
from utils.settings import parse, pick

# what each random stream of a tool is for
ENV, ACTING = range(2)


def check_request(seed: int, outputs: Mapping[str, Path | None]) -> None:
    """Raise :class:`UserError` for an impossible ``--seed``, or a file (by its option) that could not be written.

    Made at the start rather than after the episodes.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed={seed} is not possible. Set it to a whole number from 0 to {2**32 - 1}.")
    for option, path in outputs.items():
        if path is not None:
            check_writable(option, str(path.absolute().parent))


def read_snapshot(path: Path, wanted: str) -> dict[str, Any]:
    """The content of a snapshot file. Raises :class:`UserError`, which says what is ``wanted``, when there is none."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. Name a {wanted}.")
    return checkpoint.load(path, "snapshot")


def build_env(config: Mapping[str, Any], seed: int, env_factory: str | None = None) -> gymnasium.Env:
    """The environment of the task and rendering in ``config``, with its own initial states.

    Raises :class:`UserError` for one whose code only the snapshot names: ``env_factory`` is what the user names.
    """
    refuse_unnamed(config.get("env_factory"), env_factory, "the snapshot", "--env-factory")
    settings = parse(EnvironmentKeys, pick(EnvironmentKeys, config))
    return make(settings.task, seed=derive(seed, ENV), **env_arguments(settings))


def add_env_factory(parser: argparse.ArgumentParser) -> None:
    """The option ``--env-factory``."""
    parser.add_argument(
        "--env-factory",
        metavar="PACKAGE.MAKE",
        help="allows importing it, for a snapshot of an environment of your own",
    )


def progress(line: str) -> None:
    """Show ``line`` to someone who watches a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
