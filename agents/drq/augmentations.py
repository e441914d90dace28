"""``augmentation``: what is done to the images of DrQ, by name or as a list of kornia's modules, in order."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from agents.drq.augmentation import random_shift
from utils.rules import is_text, shown
from utils.settings import SettingError

Step = str | Mapping[str, Any]
"""A name, or one class of kornia's with its arguments."""

NONE, SHIFT = "none", "shift"
"""The images as they are; :func:`random_shift`."""

INTENSITY = "intensity"

SHIFTS = 2
"""K = M: shifted copies of every next state in the targets, and of every state in the critic's loss."""

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "cutout": ("RandomErasing", {"p": 0.5}),
    "horizontal_flip": ("RandomHorizontalFlip", {"p": 0.1}),
    "flip": ("RandomHorizontalFlip", {"p": 0.1}),
    "vertical_flip": ("RandomVerticalFlip", {"p": 0.1}),
    "rotation": ("RandomRotation", {"degrees": 5.0, "p": 1.0}),
}
"""Classes of ``kornia.augmentation`` and their arguments in DrQ's comparison of augmentations (Kostrikov et al. 2021,
appendix), besides ``shift`` and ``intensity``. What it leaves open is kornia's default."""

NAMES = (NONE, SHIFT, INTENSITY, *PUBLISHED)

ROWS = 32
"""Stacks on which a list is tried."""


class Augmentation:
    """The list ``steps`` on stacks of ``stack`` frames: images (..., stack * C, S, S), values 0..255, same shape.

    Every stack has draws of its own, and its frames share them. With ``shift`` or nothing alone bytes stay bytes;
    kornia computes in float32, in [0, 1], and what leaves that range is not cut off. It draws on the CPU, from torch's
    global generator, and copies the draws to the images (:attr:`on_host`).

    Raises :class:`SettingError` for a step that there is not, or that kornia cannot build.
    """

    def __init__(self, steps: Step | list[Step], stack: int, pad: int) -> None:
        self.on_host = False
        self._functions: list[Callable[[Tensor], Tensor]] = []
        for step in steps if isinstance(steps, list) else [steps]:
            if step == SHIFT:
                self._functions.append(lambda image: random_shift(image, pad))
            elif step != NONE:
                self._functions.append(_OverStacks(step, stack))
                self.on_host = True

    def __call__(self, image: Tensor) -> Tensor:
        for function in self._functions:
            image = function(image)
        return image

    def copies(self, frames: Tensor) -> Tensor:
        """uint8 (B, stack, C, S, S) -> values 0..255 (SHIFTS, B, stack * C, S, S), every copy augmented by itself."""
        stacked = frames.flatten(1, 2)
        return self(stacked.expand(SHIFTS, *stacked.shape))


class _OverStacks:
    """One module of kornia's, which takes a stack for a video and does the same to all of its frames."""

    def __init__(self, step: Step, stack: int) -> None:
        from kornia.augmentation import VideoSequential  # a quarter of a second that the default can do without

        with torch.device("cpu"):  # an agent may be outlined without memory; kornia's ranges are numbers it reads
            self.video = VideoSequential(_module(step), data_format="BTCHW", same_on_frame=True)
        self.stack = stack

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        frames = image.flatten(0, -4).unflatten(1, (self.stack, -1))
        with torch.autocast(image.device.type, enabled=False):
            found = self.video(frames.float().div(255)).mul(255)
        if found.shape != frames.shape:
            raise ValueError(f"it makes {tuple(found.shape[-3:])} of frames {tuple(frames.shape[-3:])}")
        return found.reshape(image.shape)


def _module(step: Step) -> Any:
    """The module of kornia's that a step names. Raises :class:`SettingError` as said above."""
    import kornia.augmentation as library

    from agents.drq.intensity import Intensity

    if step == INTENSITY:
        return Intensity(scale=0.05)
    name, arguments = _of_kornia(step)
    base = library.AugmentationBase2D  # those that mix images are not derived from it
    known = {n: c for n, c in vars(library).items() if isinstance(c, type) and issubclass(c, base) and "Base" not in n}
    if name not in known:
        raise _unknown(name, [*NAMES, *known])
    try:
        return known[name](**arguments)
    except Exception as error:  # whatever a library makes of an argument that it does not know
        raise _refused(step, f"kornia says: {_said(error)}") from None


def _of_kornia(step: Step) -> tuple[str, dict[str, Any]]:
    """The class and the arguments that a step names."""
    if isinstance(step, str):
        return PUBLISHED.get(step, (step, {}))
    ((name, arguments),) = step.items()
    return name, {key: _tuples(value) for key, value in arguments.items()}


def _tuples(value: Any) -> Any:
    """Ranges are tuples in kornia, and lists in YAML."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _unknown(name: str, known: list[str]) -> SettingError:
    by_case = {other.lower(): other for other in reversed(known)}
    near = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.7)
    hint = f" Did you mean {by_case[near[0]]}?" if near else ""
    return SettingError(
        f"`augmentation`={shown(name)} is not known: there are {', '.join(NAMES)}, and the classes for images of "
        f"kornia.augmentation, such as RandomErasing.{hint}"
    )


def _refused(step: Step, why: str) -> SettingError:
    return SettingError(
        f"`augmentation`={shown(step)} cannot be used: {why}. Give arguments of that class; what it does has to keep "
        "the size of frames, and be the same in all frames of a stack."
    )


def _said(error: Exception) -> str:
    return (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200].rstrip(".")


def is_step(value: Any) -> bool:
    """A name, or a mapping of one name to its arguments."""
    if not isinstance(value, Mapping):
        return is_text(value)
    return len(value) == 1 and all(
        is_text(name) and isinstance(arguments, Mapping) and all(map(is_text, arguments))
        for name, arguments in value.items()
    )


def is_steps(value: Any) -> bool:
    """One step, or a list of them."""
    return all(map(is_step, value)) if isinstance(value, list) else is_step(value)


def draws_on_host(steps: Step | list[Step]) -> bool:
    """Whether one of the steps is kornia's."""
    return any(step not in (NONE, SHIFT) for step in (steps if isinstance(steps, list) else [steps]))


def check_augmentation(steps: Step | list[Step], size: int) -> None:
    """Try each of the steps on frames of ``size`` px.

    Raises :class:`SettingError` for one that is not known, that kornia refuses, or that changes the size of frames or
    makes frames of a stack that are alike different.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frame = torch.randint(0, 256, (ROWS, 3, size, size), dtype=torch.uint8)
        for step in steps if isinstance(steps, list) else [steps]:
            augmentation = Augmentation(step, 2, 0)
            try:
                first, second = augmentation(frame.repeat(1, 2, 1, 1)).chunk(2, 1)
            except Exception as error:  # as above
                raise _refused(step, f"kornia says: {_said(error)}") from None
            if not torch.equal(first, second):
                raise _refused(step, "frames of a stack that are alike come out different")
