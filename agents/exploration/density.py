"""One density model for all skills: a conditional, soft-modular variational autoencoder of images (SD3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn.chunks import chunks
from agents.nn.distributions import squared_distance
from agents.nn.means import masked_mean
from agents.nn.networks import ImageDecoder, ImageEncoder, preprocess_image
from agents.nn.phases import to_phases
from agents.nn.soft_modular import SoftModular
from utils.errors import UserError

CHUNK = 4096
"""Image-skill pairs scored at once; bounds the memory of :meth:`SkillDensity.all_skills`."""

MOST_LOG_VAR = 5.0
"""Largest log-variance of the latent when images are scored: pairs that never occurred may lie far outside the data."""

KERNELS = {64: ((4, 4, 4, 4), (5, 5, 6, 6)), 32: ((4, 4, 4), (5, 6, 6))}
"""Kernels of encoder and decoder by the side of the image that is modelled."""


class SkillDensity(nn.Module):
    """d_z(s) = exp(-e_z(s)) with e_z(s) = ||s - s^(s, z)||^2, and k_z(s) = KL(q(h | s, z) || N(0, I)).

    Encoder and decoder are soft-modular networks of their own (Yang et al. 2020) that share the embedding of the
    skill. Images are (..., C, S, S) in [-0.5, 0.5], skills one-hot (..., n) (Xiao et al. 2025).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        skill_dim: int,
        *,
        latent_dim: int = 64,
        num_modules: int = 4,
        num_layers: int = 2,
        module_hidden: int = 1024,
        image_size: int = 64,
        cnn_depth: int = 48,
        temperature: float = 1.0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        hidden = module_hidden
        self.skill_dim, self.latent_dim = skill_dim, latent_dim
        if image_shape[1] % image_size:
            raise UserError(
                f"agent.density_image_size={image_size} does not divide images of {image_shape[1]} px. "
                "Use an image_size that is a multiple of it."
            )
        kernels_in, kernels_out = KERNELS[image_size]
        small_shape = (image_shape[0], image_size, image_size)
        self.shrink = image_shape[1] // image_size
        convolutions = ImageEncoder(small_shape, cnn_depth, kernels_in)
        self.in_phases = convolutions.in_phases
        self.image_in = nn.Sequential(convolutions, nn.Linear(convolutions.embed_dim, hidden))
        self.skill_in = nn.Linear(skill_dim, hidden)
        settings = {"modules": num_modules, "layers": num_layers, "temperature": temperature, "batch_norm": batch_norm}
        self.encoder = SoftModular(hidden, **settings)  # type: ignore[arg-type]
        self.moments = nn.Linear(hidden, 2 * latent_dim)
        self.latent_in = nn.Linear(latent_dim, hidden)
        self.decoder = SoftModular(hidden, **settings)  # type: ignore[arg-type]
        self.image_out = ImageDecoder(hidden, small_shape, cnn_depth, kernels_out)

    def _images(self, obs: Tensor) -> Tensor:
        """uint8 (..., C, S, S) -> [-0.5, 0.5], averaged to the modelled size, (N, 1, C, s, s) or phases of these."""
        image = obs.flatten(0, -4)
        if self.shrink > 1:
            image = F.avg_pool2d(image.float(), self.shrink)
        return preprocess_image(to_phases(image) if self.in_phases else image)[:, None]

    def _evaluate(self, image: Tensor, skill: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """e and k of images (N, 1 or n, C, S, S) under skills (N or 1, n, skill_dim); noise (N, 1 or n, latent)."""
        embedding = self.skill_in(skill)
        mean, log_var = self.moments(self.encoder(self.image_in(image), embedding)).float().chunk(2, -1)
        if not self.training:
            log_var = log_var.clamp(max=MOST_LOG_VAR)
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        latent = mean + (0.5 * log_var).exp() * noise
        beside = self.image_out.beside(image, self.decoder(self.latent_in(latent), embedding))
        return squared_distance(*beside, 3), divergence

    def loss(self, obs: Tensor, skill: Tensor, valid: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
        """mean (e + beta k) over the pairs of uint8 images (..., C, S, S) and skills (..., n) where ``valid`` holds."""
        image = self._images(obs)
        noise = torch.randn(len(image), 1, self.latent_dim, device=image.device)
        error, divergence = self._evaluate(image, skill.flatten(0, -2)[:, None], noise)
        error, divergence = (masked_mean(x[:, 0], valid.flatten()) for x in (error, divergence))
        return error + beta * divergence, {"density_error": error.detach(), "density_kl": divergence.detach()}

    @torch.no_grad()
    def all_skills(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """e and k of uint8 images (..., C, S, S) under every skill, (..., n) each.

        Uses the running statistics of batch normalisation, a log-variance of at most ``MOST_LOG_VAR``, and the same
        latent noise for all skills of an image, so that skills differ by what the model knows of them only.
        """
        training = self.training
        image = self._images(obs)
        skills = torch.eye(self.skill_dim, device=obs.device)
        noise = torch.randn(len(image), 1, self.latent_dim, device=obs.device)
        self.eval()
        try:
            parts = [
                self._evaluate(image[part], skills, noise[part]) for part in chunks(len(image), CHUNK // self.skill_dim)
            ]
        finally:
            self.train(training)
        error, divergence = (torch.cat(x).unflatten(0, obs.shape[:-3]) for x in zip(*parts, strict=True))
        return error, divergence
