"""The networks of DrQ (Kostrikov et al. 2021): encoder, actor and twin critic."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.drq.squashed_normal import SquashedNormal
from agents.nn.networks import MLP, orthogonal_
from utils.errors import UserError


class Convs(nn.Module):
    """Four 3x3 convolutions, the first of stride 2, each followed by ReLU.

    Stacks of frames, uint8 or float in 0..255, (..., C, S, S) -> maps (..., outputs), pixel by pixel as they lie in
    memory. Raises :class:`UserError` when nothing is left of an image of that size.
    """

    def __init__(self, image_shape: Sequence[int], channels: int) -> None:
        super().__init__()
        inputs, size, _ = image_shape
        side = (size - 3) // 2 + 1 - 2 * 3
        if side < 1:
            raise UserError(
                f"render_size={size}: DrQ's convolutions leave nothing of such an image. Use render_size=16 or more."
            )
        self.maps = (channels, side, side)
        self.outputs = channels * side**2
        self.layers = nn.ModuleList(
            nn.Conv2d(channels if i else inputs, channels, 3, stride=1 if i else 2) for i in range(4)
        )
        orthogonal_(self)

    def forward(self, image: Tensor) -> Tensor:
        lead = image.shape[:-3]
        # channels_last: a fifth faster on CPU; a copy, as the division is in place
        x = image.reshape(-1, *image.shape[-3:]).contiguous(memory_format=torch.channels_last)
        x = x.to(torch.float32, copy=True).div_(255)
        for layer in self.layers:
            x = F.relu(layer(x), inplace=True)
        return x.permute(0, 2, 3, 1).reshape(*lead, self.outputs)


class Encoder(nn.Module):
    """Convolutions, which two encoders may share, and a head of its own: Linear, LayerNorm, tanh -> (..., F)."""

    def __init__(self, convs: Convs, features: int) -> None:
        super().__init__()
        self.convs = convs
        self.linear = nn.Linear(convs.outputs, features)
        self.norm = nn.LayerNorm(features)
        orthogonal_(self.linear)

    def head(self, maps: Tensor) -> Tensor:
        """Outputs of the convolutions (..., outputs) -> features (..., F) in [-1, 1]."""
        # the weights are kept in the published order, channel by channel; they are fewer than the maps of a batch
        weight = self.linear.weight.unflatten(1, self.convs.maps).permute(0, 2, 3, 1).flatten(1)
        return torch.tanh(self.norm(F.linear(maps, weight, self.linear.bias)))

    def forward(self, image: Tensor) -> Tensor:
        """Stacks of frames (..., C, S, S), values 0..255 -> features (..., F)."""
        return self.head(self.convs(image))


class SkillTable(nn.Module):
    """An embedding of skills, N(0, 1) at the start: (..., n) -> (..., dim); nothing with ``skill_dim=0``.

    A row for each one-hot skill; continuous ones, sums of rows.
    """

    def __init__(self, skill_dim: int, dim: int) -> None:
        super().__init__()
        self.outputs = dim if skill_dim else 0
        self.weight = nn.Parameter(torch.randn(skill_dim, dim)) if skill_dim else None

    def forward(self, skill: Tensor) -> Tensor:
        return skill[..., :0] if self.weight is None else skill @ self.weight


class Actor(nn.Module):
    """MLP on [head(maps), e(z)] -> a squashed Normal with log std between ``log_std_min`` and ``log_std_max``.

    Its encoder's convolutions are the critic's; they get no gradient here.
    """

    def __init__(
        self,
        encoder: Encoder,
        skills: SkillTable,
        action_dim: int,
        *,
        layers: int,
        units: int,
        log_std_min: float,
        log_std_max: float,
    ) -> None:
        super().__init__()
        self.encoder, self.skills = encoder, skills
        inputs = encoder.linear.out_features + skills.outputs
        self.trunk = orthogonal_(MLP(inputs, 2 * action_dim, layers, units, nn.ReLU))
        self.low, self.high = log_std_min, log_std_max

    def forward(self, maps: Tensor, skill: Tensor) -> SquashedNormal:
        """maps (..., outputs) of the convolutions, cut off here; skill (..., n) -> policy, parameters (..., A)."""
        features = self.encoder.head(maps.detach())
        skill = self.skills(skill).expand(*features.shape[:-1], -1)
        mean, raw = self.trunk(torch.cat([features, skill], -1)).chunk(2, -1)
        return SquashedNormal(mean, self.low + 0.5 * (self.high - self.low) * (torch.tanh(raw) + 1))

    def own_parameters(self) -> list[nn.Parameter]:
        """All but those of the convolutions: what the actor's optimiser moves."""
        tied = set(self.encoder.convs.parameters())
        return [p for p in self.parameters() if p not in tied]


class TwinCritic(nn.Module):
    """Q_1 and Q_2, MLPs on [features, e(z), action] that share an encoder; without e(z) given an empty table."""

    def __init__(self, encoder: Encoder, skills: SkillTable, action_dim: int, *, layers: int, units: int) -> None:
        super().__init__()
        self.encoder, self.skills = encoder, skills
        inputs = encoder.linear.out_features + skills.outputs + action_dim
        self.q = nn.ModuleList(orthogonal_(MLP(inputs, 1, layers, units, nn.ReLU)) for _ in range(2))

    def forward(self, maps: Tensor, skill: Tensor, action: Tensor) -> Tensor:
        """maps (..., outputs) of the convolutions, skill (..., n), action (..., A) -> both values, (2, ...)."""
        features = self.encoder.head(maps)
        lead = features.shape[:-1]
        x = torch.cat([features, self.skills(skill).expand(*lead, -1), action.expand(*lead, -1)], -1)
        return torch.stack([q(x)[..., 0] for q in self.q])
