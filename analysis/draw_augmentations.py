"""``python -m analysis.draw_augmentations STEP ... --out FILE``: what ``augmentation=`` of DrQ does to a stack.

A row for each step, a name or a class of kornia's such as ``RandomErasing`` or ``{RandomErasing: {p: 1}}``; in a row
several draws, the frames of a stack beside each other.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw
from torch import Tensor

from agents.drq.augmentations import Augmentation, Step, check_augmentation, is_step
from envs.make import make
from utils.errors import UserError, exit_status

SHOWN: tuple[Step, ...] = (
    "none", "shift", "cutout", {"RandomHorizontalFlip": {"p": 1.0}}, {"RandomVerticalFlip": {"p": 1.0}}, "rotation",
    "intensity",
)  # fmt: skip
"""Flips are shown as they look where they happen."""

LABEL, GAP = 14, 6
"""Pixels above a row for its name, and between two draws."""


def stack_of(task: str, size: int, frames: int, action_repeat: int, seed: int) -> Tensor:
    """The last frames of a few random steps in ``task``, uint8 (frames, 3, size, size), oldest first."""
    env = make(task, seed=seed, image_size=size, action_repeat=action_repeat)
    try:
        drawn = np.random.default_rng(seed)
        observation, _ = env.reset()
        seen = [observation["observation"]]
        for _ in range(4 + frames):
            action = drawn.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            seen.append(env.step(action)[0]["observation"])
    finally:
        env.close()
    return torch.from_numpy(np.stack(seen[-frames:]))


def draws(stack: Tensor, step: Step, count: int, pad: int) -> Tensor:
    """``count`` draws of ``step`` on a stack (F, C, S, S) -> uint8 (count, F, C, S, S), bounded."""
    many = stack.flatten(0, 1).expand(count, -1, -1, -1)
    found = Augmentation(step, len(stack), pad)(many)
    return found.unflatten(1, stack.shape[:2]).clamp(0, 255).byte()


def picture(stack: Tensor, steps: Sequence[Step], count: int, pad: int) -> Image.Image:
    """The rows of :func:`draws`, each under its name."""
    frames, _, size, _ = stack.shape
    width = count * frames * size + (count - 1) * GAP
    sheet = Image.new("RGB", (width, len(steps) * (size + LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, step in enumerate(steps):
        top = row * (size + LABEL)
        pen.text((1, top + 1), name_of(step), fill="black")
        for place, one in enumerate(draws(stack, step, count, pad)):
            beside = one.permute(2, 0, 3, 1).flatten(1, 2).contiguous().numpy()
            sheet.paste(Image.fromarray(beside), (place * (frames * size + GAP), top + LABEL))
    return sheet


def name_of(step: Step) -> str:
    """``RandomErasing p=1.0``."""
    if isinstance(step, str):
        return step
    ((name, arguments),) = step.items()
    return " ".join([name, *(f"{key}={value}" for key, value in arguments.items())])


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the rows and prints where they are."""
    parser = argparse.ArgumentParser("python -m analysis.draw_augmentations", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help="default: those of DrQ's comparison")
    parser.add_argument("--task", default="walker_walk", help="default: walker_walk")
    parser.add_argument("--size", type=int, default=84, help="pixels a side (default: 84)")
    parser.add_argument("--pad", type=int, default=4, help="image_pad of shift (default: 4)")
    parser.add_argument("--draws", type=int, default=3, help="in a row (default: 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("augmentations.png"), help="default: augmentations.png")
    asked = parser.parse_args(arguments)
    for key, least in (("draws", 1), ("pad", 0)):
        if getattr(asked, key) < least:
            raise UserError(f"--{key}={getattr(asked, key)} is below {least}. Raise it.")
    steps = [_read(text) for text in asked.steps] or list(SHOWN)
    stack = stack_of(asked.task, asked.size, 3, 2, asked.seed)
    check_augmentation(steps, asked.size)
    torch.manual_seed(asked.seed)
    sheet = picture(stack, steps, asked.draws, asked.pad)
    try:
        sheet.quantize(128, dither=Image.Dither.NONE).save(asked.out, optimize=True)
    except (OSError, ValueError) as error:
        raise UserError(f"--out={asked.out} cannot be written ({error}). Choose another place.") from error
    print(f"{asked.out}: {', '.join(map(name_of, steps))}")


def _read(text: str) -> Step:
    try:
        step = yaml.safe_load(text)
    except yaml.YAMLError:
        step = None
    if not is_step(step):
        raise UserError(f"STEP={text} is not a name, nor one class with its arguments: '{{RandomErasing: {{p: 1}}}}'.")
    return step  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main())
