"""Recurrent state-space model with categorical latents (DreamerV2, Hafner et al. 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn import across
from agents.nn.distributions import sample_one_hot
from agents.nn.latent import Latent
from agents.nn.networks import GRUCell


class RSSM(nn.Module):
    """h_t = GRU(ELU(Linear[s_{t-1}, a_{t-1}]), h_{t-1}); prior p(s_t | h_t); posterior q(s_t | h_t, e_t).

    Shapes: B sequences, T time, N states; action (..., A), embed (..., E), is_first (...,) bool.
    """

    def __init__(
        self,
        action_dim: int,
        embed_dim: int,
        *,
        deter: int = 200,
        hidden: int = 200,
        stoch: int = 32,
        discrete: int = 32,
    ) -> None:
        super().__init__()
        self.deter, self.stoch, self.discrete, self.action_dim = deter, stoch, discrete, action_dim
        flat = stoch * discrete
        self.feat_dim = flat + deter
        self.input = nn.Linear(flat + action_dim, hidden)
        self.cell = GRUCell(hidden, deter)
        self.prior_net = nn.Sequential(nn.Linear(deter, hidden), nn.ELU(inplace=True), nn.Linear(hidden, flat))
        self.posterior_in = nn.Linear(deter + embed_dim, hidden)
        self.posterior_out = nn.Linear(hidden, flat)

    def initial(self, count: int, device: torch.device | str | None = None) -> Latent:
        """All-zero states, (count, ...)."""
        device = device or self.input.weight.device
        groups = torch.zeros(count, self.stoch, self.discrete, device=device)
        return Latent(torch.zeros(count, self.deter, device=device), groups, groups.clone())

    def _groups(self, flat: Tensor) -> Tensor:
        return flat.float().unflatten(-1, (self.stoch, self.discrete))

    def _advance(self, latent: Latent, action: Tensor) -> Tensor:
        x = F.elu(self.input(torch.cat([latent.stoch.flatten(-2), action], -1)), inplace=True)
        return self.cell(x, latent.deter).float()

    def prior_logits(self, deter: Tensor) -> Tensor:
        """(..., deter) -> (..., stoch, discrete)."""
        return self._groups(self.prior_net(deter))

    def imagine_step(self, latent: Latent, action: Tensor) -> Latent:
        """One step of the prior dynamics: states (N, ...) and actions (N, A) -> next states (N, ...)."""
        deter = self._advance(latent, action)
        logits = self.prior_logits(deter)
        return Latent(deter, sample_one_hot(logits), logits)

    def observe_step(self, latent: Latent, action: Tensor, embed: Tensor, is_first: Tensor) -> Latent:
        """One posterior step: ``action`` (N, A) led to the image of ``embed`` (N, E).

        ``is_first`` (N,) resets state and action to zeros before the step.
        """
        post, _ = self.observe(embed[:, None], action[:, None], is_first[:, None], latent)
        return Latent(*(x[:, 0] for x in post))

    def observe(
        self, embed: Tensor, action: Tensor, is_first: Tensor, start: Latent | None = None
    ) -> tuple[Latent, Tensor]:
        """Filter B sequences of T records; returns the posterior (B, T, ...) and the prior's logits (B, T, stoch,
        discrete).

        ``embed`` (B, T, E); ``action[:, t]`` is the action that led to record t; where ``is_first`` (B, T) holds,
        state and action are zeroed before the step. Starts from zeros unless ``start`` (B, ...) is given.
        """
        batch, length = embed.shape[:2]
        latent = start or self.initial(batch, embed.device)
        keep = (~is_first).to(action.dtype)[..., None]
        action = action * keep
        # everything that does not depend on the recurrent state is computed for all steps at once
        from_embed = F.linear(embed, self.posterior_in.weight[:, self.deter :], self.posterior_in.bias)
        from_deter = self.posterior_in.weight[:, : self.deter]  # once: every slice has a gradient of the whole's size
        uniform = across.own_rows(lambda n: torch.rand(length, n, self.stoch, 1, device=embed.device), batch, dim=1)
        deter, stoch = latent.deter, latent.stoch
        deters, stochs, logits = [], [], []
        for t in range(length):
            deter, stoch, step_logits = self.filter_step(
                deter, stoch, action[:, t], keep[:, t], from_deter, from_embed[:, t], uniform[t]
            )
            deters.append(deter)
            stochs.append(stoch)
            logits.append(step_logits)
        post = Latent(torch.stack(deters, 1), torch.stack(stochs, 1), torch.stack(logits, 1))
        return post, self.prior_logits(post.deter)

    def filter_step(
        self,
        deter: Tensor,
        stoch: Tensor,
        action: Tensor,
        keep: Tensor,
        from_deter: Tensor,
        from_embed: Tensor,
        uniform: Tensor,
    ) -> Latent:
        """One step of :meth:`observe`: state (B, ...) and action (B, A) -> the next posterior (B, ...).

        The state is reset where ``keep`` (B, 1) is 0. ``from_deter`` (hidden, deter) are the weights of the hidden
        layer for the GRU's state, ``from_embed`` (B, hidden) is the image's part of that layer, ``uniform`` (B, stoch,
        1) are the random numbers of the sample.
        """
        deter = self._advance(Latent(deter * keep, stoch * keep[..., None], stoch), action)
        hidden = F.elu(F.linear(deter, from_deter) + from_embed, inplace=True)
        logits = self._groups(self.posterior_out(hidden))
        return Latent(deter, sample_one_hot(logits, uniform), logits)

    def imagine(self, start: Latent, actions: Tensor) -> Latent:
        """Prior states for given actions: start (N, ...), actions (N, T, A) -> (N, T, ...)."""
        states = []
        latent = start
        for t in range(actions.shape[1]):
            latent = self.imagine_step(latent, actions[:, t])
            states.append(latent)
        return Latent(*(torch.stack(xs, 1) for xs in zip(*states, strict=True)))
