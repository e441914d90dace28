"""Recurrent state-space model with categorical latents (DreamerV2, Hafner et al. 2021)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.dreamer.recurrence import Functions, Given, Weights, backward_step, forward_step, recur
from agents.nn import across
from agents.nn.distributions import below_one
from agents.nn.latent import Latent
from agents.nn.networks import product_type


class GRUCell(nn.Module):
    """The weights of a GRU with one LayerNorm over all gates; see :func:`agents.dreamer.recurrence.forward_step`."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs + size, 3 * size)
        self.norm = nn.LayerNorm(3 * size)


class Dynamics(NamedTuple):
    """Weights of the recurrence as they are now, in the type that products are taken in; gradients reach the RSSM's.

    U: units of hidden layers.
    """

    weights: Weights
    action: Tensor
    """(U, A), of the action in the layer before the GRU, whose bias is the next."""
    action_bias: Tensor
    hidden_bias: Tensor
    """(U,), of the layer before the logits."""

    def of(self, action: Tensor) -> Tensor:
        """What a step is given of an action, (..., A) -> (..., U)."""
        return F.linear(action.to(self.action.dtype), self.action, self.action_bias)


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
        self.update_bias: Tensor
        self.register_buffer("update_bias", _update_bias(deter), persistent=False)
        self.forward_step, self.backward_step = forward_step, backward_step
        self.prior_net = nn.Sequential(nn.Linear(deter, hidden), nn.ELU(inplace=True), nn.Linear(hidden, flat))
        self.posterior_in = nn.Linear(deter + embed_dim, hidden)
        self.posterior_out = nn.Linear(hidden, flat)

    def initial(self, count: int, device: torch.device | str | None = None) -> Latent:
        """All-zero states, (count, ...)."""
        device = device or self.input.weight.device
        groups = torch.zeros(count, self.stoch, self.discrete, device=device)
        return Latent(torch.zeros(count, self.deter, device=device), groups, groups.clone())

    def prior_logits(self, deter: Tensor) -> Tensor:
        """(..., deter) -> (..., stoch, discrete)."""
        return self.prior_net(deter).float().unflatten(-1, (self.stoch, self.discrete))  # type: ignore[no-any-return]

    def prior(self) -> Dynamics:
        """What :meth:`imagine_step` multiplies with: made once where there are many steps."""
        hidden, _, out = self.prior_net
        assert isinstance(hidden, nn.Linear) and isinstance(out, nn.Linear)
        return self._dynamics(hidden.weight, hidden.bias, out)

    def _dynamics(self, deter: Tensor, hidden_bias: Tensor, out: nn.Linear) -> Dynamics:
        """With the weights (hidden, deter) and biases of the layer before the logits, and the layer of these."""
        flat, linear, norm = self.stoch * self.discrete, self.cell.linear, self.cell.norm
        dtype = product_type(linear.weight)
        products = (self.input.weight[:, :flat], linear.weight, linear.bias, deter, out.weight, out.bias)
        stoch, gates, gates_bias, deter, logits, logits_bias = (x.to(dtype) for x in products)
        norms = norm.weight, norm.bias + self.update_bias
        weights = Weights(stoch, gates, gates_bias, *norms, deter, logits, logits_bias)
        others = self.input.weight[:, flat:], self.input.bias, hidden_bias
        return Dynamics(weights, *(x.to(dtype) for x in others))

    def imagine_step(
        self, latent: Latent, action: Tensor, prior: Dynamics | None = None, drawn: Tensor | None = None
    ) -> Latent:
        """One step of the prior dynamics: states (N, ...) and actions (N, A) -> next states (N, ...).

        Their logits are in the type of products. ``prior`` is what :meth:`prior` gave since the weights last changed,
        ``drawn`` one of the rows of :meth:`drawn`.
        """
        prior = prior or self.prior()
        uniform = self.drawn(1, len(action), action.device) if drawn is None else drawn[None]
        given = Given(prior.of(action)[:, None], prior.hidden_bias, uniform, None)
        return Latent(*(x.squeeze(1) for x in recur(self._steps(), latent.deter, latent.stoch, given, prior.weights)))

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
        latent = start or self.initial(len(embed), embed.device)
        keep = (~is_first).to(latent.deter.dtype)[..., None]
        # everything that does not depend on the recurrent state is computed for all steps at once
        weight, bias = self.posterior_in.weight, self.posterior_in.bias
        from_embed = F.linear(embed, weight[:, self.deter :], bias)
        posterior = self._dynamics(weight[:, : self.deter], bias, self.posterior_out)
        uniform = self.drawn(embed.shape[1], len(embed), embed.device)
        given = Given(posterior.of(action * keep), from_embed, uniform, keep)
        deter, stoch, logits = recur(self._steps(), latent.deter, latent.stoch, given, posterior.weights)
        return Latent(deter, stoch, logits.to(deter.dtype)), self.prior_logits(deter)

    def imagine(self, start: Latent, actions: Tensor) -> Latent:
        """Prior states for given actions, as :meth:`imagine_step`: start (N, ...), actions (N, T, A) -> (N, T, ...)."""
        prior = self.prior()
        uniform = self.drawn(actions.shape[1], len(actions), actions.device)
        given = Given(prior.of(actions), prior.hidden_bias, uniform, None)
        return Latent(*recur(self._steps(), start.deter, start.stoch, given, prior.weights))

    def drawn(self, steps: int, count: int, device: torch.device | str) -> Tensor:
        """Random numbers for the samples of so many steps of ``count`` states, (steps, count, stoch, 1)."""
        uniform = across.own_rows(lambda n: torch.rand(steps, n, self.stoch, 1, device=device), count, dim=1)
        return below_one(uniform, self.discrete)

    def _steps(self) -> Functions:
        return self.forward_step, self.backward_step


def _update_bias(deter: int) -> Tensor:
    """What is added to the gates of a GRU: -1 to those that say how much of the state is replaced, a third."""
    return -torch.cat([torch.zeros(2 * deter), torch.ones(deter)])
