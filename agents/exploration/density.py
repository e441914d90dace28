"""One density model for all skills: a conditional, soft-modular variational autoencoder of observations (SD3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn import across
from agents.nn.chunks import chunks
from agents.nn.distributions import squared_distance
from agents.nn.means import masked_mean
from agents.nn.networks import ImageDecoder, ImageEncoder, preprocess_image
from agents.nn.observations import check_observation, is_image
from agents.nn.phases import to_phases
from agents.nn.soft_modular import SoftModular
from utils.errors import UserError

CHUNK = 4096
"""Pairs of observation and skill scored at once; bounds the memory of :meth:`SkillDensity.all_skills`."""
CHUNK_ON_GPU = 4 * CHUNK
"""Where starting an operation costs more than the operation."""

MOST_LOG_VAR = 5.0
"""Largest log-variance of the latent when observations are scored: pairs that never occurred may lie far outside the
data."""

KERNELS = {64: ((4, 4, 4, 4), (5, 5, 6, 6)), 32: ((4, 4, 4), (5, 6, 6))}
"""Kernels of encoder and decoder by the side of the image that is modelled."""


class SkillDensity(nn.Module):
    """d_z(s) = exp(-e_z(s)) with e_z(s) = ||s - s^(s, z)||^2, and k_z(s) = KL(q(h | s, z) || N(0, I)).

    Encoder and decoder are soft-modular networks of their own (Yang et al. 2020) that share the embedding of the
    skill. Images are (..., C, S, S) in [-0.5, 0.5], brought to and from the modules' width by convolutions; states are
    (..., D), raw, and one linear layer does so. Skills are one-hot (..., n) (Xiao et al. 2025).
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
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
        self.obs_shape, self.skill_dim, self.latent_dim = tuple(obs_shape), skill_dim, latent_dim
        if is_image(obs_shape):
            self.shrink = _shrink(obs_shape, image_size)
            kernels_in, kernels_out = KERNELS[image_size]
            small_shape = (obs_shape[0], image_size, image_size)
            convolutions = ImageEncoder(small_shape, cnn_depth, kernels_in)
            self.in_phases = convolutions.in_phases
            self.image_in = nn.Sequential(convolutions, nn.Linear(convolutions.embed_dim, hidden))
        else:
            self.state_in = nn.Linear(obs_shape[0], hidden)
        self.skill_in = nn.Linear(skill_dim, hidden)
        settings = {"modules": num_modules, "layers": num_layers, "temperature": temperature, "batch_norm": batch_norm}
        self.encoder = SoftModular(hidden, **settings)  # type: ignore[arg-type]
        self.moments = nn.Linear(hidden, 2 * latent_dim)
        self.latent_in = nn.Linear(latent_dim, hidden)
        self.decoder = SoftModular(hidden, **settings)  # type: ignore[arg-type]
        if is_image(obs_shape):
            self.image_out = ImageDecoder(hidden, small_shape, cnn_depth, kernels_out)
        else:
            self.state_out = nn.Linear(hidden, obs_shape[0])

    def _modelled(self, obs: Tensor) -> Tensor:
        """uint8 (..., C, S, S) -> [-0.5, 0.5], averaged to the modelled size, (N, 1, C, s, s) or phases of these;
        states (..., D) -> (N, 1, D).
        """
        check_observation(obs, self.obs_shape)
        if not is_image(self.obs_shape):
            return obs.float().flatten(0, -2)[:, None]
        image = obs.flatten(0, -4)
        if self.shrink > 1:
            image = F.avg_pool2d(image.float(), self.shrink)
        return preprocess_image(to_phases(image) if self.in_phases else image)[:, None]

    def _error(self, obs: Tensor, hidden: Tensor) -> Tensor:
        """||s - s^||^2 of what :meth:`_modelled` gives and the decoder's features (..., H)."""
        if is_image(self.obs_shape):
            return squared_distance(*self.image_out.beside(obs, hidden), 3)
        return squared_distance(obs, self.state_out(hidden), 1)

    def _evaluate(self, obs: Tensor, skill: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """e and k of observations (N, 1 or n, ...) under skills (N or 1, n, skill_dim); noise (N, 1 or n, latent)."""
        embedding = self.skill_in(skill)
        read = self.image_in if is_image(self.obs_shape) else self.state_in
        mean, log_var = self.moments(self.encoder(read(obs), embedding)).float().chunk(2, -1)
        if not self.training:
            log_var = log_var.clamp(max=MOST_LOG_VAR)
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        latent = mean + (0.5 * log_var).exp() * noise
        return self._error(obs, self.decoder(self.latent_in(latent), embedding)), divergence

    def _noise(self, modelled: Tensor) -> Tensor:
        """Of the latents of N observations, (N, 1, latent)."""
        size, device = self.latent_dim, modelled.device
        return across.own_rows(lambda n: torch.randn(n, 1, size, device=device), len(modelled))

    def loss(self, obs: Tensor, skill: Tensor, valid: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
        """mean (e + beta k) over the pairs of observations (..., *obs_shape) and skills (..., n) where ``valid``."""
        modelled = self._modelled(obs)
        noise = self._noise(modelled)
        error, divergence = self._evaluate(modelled, skill.flatten(0, -2)[:, None], noise)
        error, divergence = (masked_mean(x[:, 0], valid.flatten()) for x in (error, divergence))
        return error + beta * divergence, {"density_error": error.detach(), "density_kl": divergence.detach()}

    @torch.no_grad()
    def all_skills(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """e and k of observations (..., *obs_shape) under every skill, (..., n) each.

        Uses the running statistics of batch normalisation, a log-variance of at most ``MOST_LOG_VAR``, and the same
        latent noise for all skills of an observation, so that skills differ by what the model knows of them only.
        """
        training = self.training
        modelled = self._modelled(obs)
        skills = torch.eye(self.skill_dim, device=obs.device)
        noise = self._noise(modelled)
        pairs = CHUNK_ON_GPU if obs.is_cuda else CHUNK
        self.eval()
        try:
            parts = [
                self._evaluate(modelled[part], skills, noise[part])
                for part in chunks(len(modelled), pairs // self.skill_dim)
            ]
        finally:
            self.train(training)
        error, divergence = (
            torch.cat(x).unflatten(0, obs.shape[: -len(self.obs_shape)]) for x in zip(*parts, strict=True)
        )
        return error, divergence


def _shrink(image_shape: Sequence[int], image_size: int) -> int:
    """By how much images are averaged down. Raises :class:`UserError` if ``image_size`` does not divide their side."""
    if image_shape[1] % image_size:
        raise UserError(
            f"agent.density_image_size={image_size} does not divide images of {image_shape[1]} px. "
            "Use an image_size that is a multiple of it."
        )
    return image_shape[1] // image_size
