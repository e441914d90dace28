"""Random brightness of DrQ's comparison of augmentations, which kornia has not."""

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor


class Intensity(IntensityAugmentationBase2D):
    """x <- s x with s = 1 + ``scale`` clip(r, -2, 2), r ~ N(0, 1) for each image (Kostrikov et al. 2021, appendix).

    Not cut off: with 0.05 the brightest values become 1.1.
    """

    def __init__(self, scale: float) -> None:
        super().__init__(p=1.0)
        self.scale = scale

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"factor": 1 + self.scale * torch.randn(batch_shape[0]).clamp(-2, 2)}

    def apply_transform(self, input: Tensor, params: dict[str, Tensor], *_: object, **__: object) -> Tensor:  # noqa: A002
        return input * params["factor"].to(input.device, input.dtype)[:, None, None, None]
