"""The two kinds of observations, images uint8 (C, S, S) and states float32 (D,): their encoders and decoders.

Which of them it is, the shape says. States enter raw, or less their mean and over their deviation; neither is clipped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.moments import RunningMoments
from agents.nn.networks import ImageDecoder, ImageEncoder, StateDecoder, StateEncoder, preprocess_image
from agents.nn.phases import to_phases
from utils.errors import UserError

LEAST = 1e-3
"""Standard deviation of a number of the state, at least."""


def is_image(shape: Sequence[int]) -> bool:
    """Whether observations of this ``shape`` are images."""
    return len(shape) == 3


def embed_dim(shape: Sequence[int], encoder: Mapping[str, Any]) -> int:
    """Numbers that :func:`build_encoder` makes of an observation."""
    if is_image(shape):
        return ImageEncoder.outputs(shape, encoder["cnn_depth"], encoder["cnn_kernels"])
    return encoder["mlp_units"]


def build_encoder(shape: Sequence[int], encoder: Mapping[str, Any]) -> ImageEncoder | StateEncoder:
    """Of prepared observations (..., *shape); ``encoder`` is the section of the settings."""
    if is_image(shape):
        return ImageEncoder(shape, encoder["cnn_depth"], encoder["cnn_kernels"])
    return StateEncoder(shape[0], encoder["mlp_layers"], encoder["mlp_units"])


def build_decoder(
    feat_dim: int, shape: Sequence[int], decoder: Mapping[str, Any], *, elu_output: bool = False
) -> ImageDecoder | StateDecoder:
    """Feature (..., feat_dim) -> mean of a unit-variance Normal over prepared observations (..., *shape).

    ``elu_output`` is a published defect of the images' decoder; that of states never had it.
    """
    if is_image(shape):
        return ImageDecoder(feat_dim, shape, decoder["cnn_depth"], decoder["cnn_kernels"], elu_output)
    return StateDecoder(feat_dim, shape[0], decoder["mlp_layers"], decoder["mlp_units"])


class StateNorm(nn.Module):
    """States (..., D) less their mean, over their standard deviation, both of everything learned from, per number.

    A unit-variance Normal over raw numbers is a model of the largest alone: of walker's, velocities have a variance of
    100, the height of the torso one of 0.05, which is within the noise of that Normal.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.moments = RunningMoments(size)

    def update(self, states: Tensor) -> None:
        """Take in ``states`` (..., D)."""
        self.moments.update(states.flatten(0, -2))

    def forward(self, states: Tensor) -> Tensor:
        """A number that never changes stays near 0: its deviation counts as ``LEAST`` at least."""
        return (states - self.moments.mean) / self.moments.var.sqrt().clamp(min=LEAST)


def check_observation(observation: Tensor, shape: Sequence[int]) -> None:
    """Raise :class:`UserError` for observations that are not (..., *shape), images uint8 or states of real numbers."""
    fits = tuple(observation.shape[-len(shape) :]) == tuple(shape)
    if not fits or is_image(shape) != (observation.dtype == torch.uint8):
        kind = "images uint8" if is_image(shape) else "states float32"
        dtype = str(observation.dtype).removeprefix("torch.")
        raise UserError(
            f"the agent sees {kind} {tuple(shape)}, and was given {dtype} {tuple(observation.shape)}. "
            "Give it what it was trained on."
        )


def prepare(observation: Tensor, shape: Sequence[int], *, in_phases: bool = False) -> Tensor:
    """What encoders take and decoders predict, float32 (..., *shape): images in [-0.5, 0.5], or their phases (see
    :mod:`agents.nn.phases`), and states as they are. Raises as :func:`check_observation`.
    """
    check_observation(observation, shape)
    if not is_image(shape):
        return observation.float()
    return preprocess_image(to_phases(observation) if in_phases else observation)
