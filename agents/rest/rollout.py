"""What one policy has done in n environments for T steps."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rollout(NamedTuple):
    """Tensors (n, T, ...), on the agent's device. An environment that ends an episode goes on with the next one in the
    following column, so a row may hold several.
    """

    obs: Tensor
    """s_t, float32 (n, T, D), as the environment gave it."""
    next_obs: Tensor
    """s_{t+1}, float32 (n, T, D): what the action led to, at the end of an episode its last observation and not the
    first one of the next."""
    action: Tensor
    """a_t, float32 (n, T, A)."""
    log_prob: Tensor
    """log pi(a_t | s_t) under the policy that acted, in nats."""
    reward: Tensor
    """The environment's."""
    terminated: Tensor
    """bool: s_{t+1} is terminal, nothing follows."""
    truncated: Tensor
    """bool: the episode was cut after s_{t+1}, as by a time limit."""

    @classmethod
    def empty(cls, n: int, length: int, obs_dim: int, action_dim: int, device: torch.device | str) -> "Rollout":
        """Room for a rollout, to be filled column by column: ``rollout.obs[:, t] = ...``."""

        def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(n, length, *shape, dtype=dtype, device=device)

        return cls(
            obs=room(obs_dim),
            next_obs=room(obs_dim),
            action=room(action_dim),
            log_prob=room(),
            reward=room(),
            terminated=room(dtype=torch.bool),
            truncated=room(dtype=torch.bool),
        )

    @property
    def cut(self) -> Tensor:
        """bool (n, T): no column of this row follows from this one. True in the last column."""
        ends = self.terminated | self.truncated
        ends[:, -1] = True
        return ends

    @property
    def begins(self) -> Tensor:
        """bool (n, T): s_t is the first observation of its episode in this rollout. True in the first column."""
        return self.cut.roll(1, 1)  # the last column is a cut

    def checked(self) -> "Rollout":
        """Itself, its shapes asserted."""
        n, length, dim = self.obs.shape
        assert self.next_obs.shape == (n, length, dim), f"next_obs {tuple(self.next_obs.shape)}"
        assert self.action.shape[:2] == (n, length) and self.action.dim() == 3, f"action {tuple(self.action.shape)}"
        for name in ("log_prob", "reward", "terminated", "truncated"):
            assert getattr(self, name).shape == (n, length), f"{name} {tuple(getattr(self, name).shape)}"
        assert self.terminated.dtype == self.truncated.dtype == torch.bool
        return self


class Episodes(NamedTuple):
    """Undiscounted returns and lengths of the episodes in a rollout, finished or cut, one entry each."""

    returns: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, reward: Tensor, cut: Tensor) -> "Episodes":
        """From a reward (n, T) and :attr:`Rollout.cut` (n, T): row by row, in the order in which they ended."""
        total = reward.double().cumsum(1).flatten()
        steps = torch.arange(1, reward.shape[1] + 1, device=reward.device).expand_as(reward).flatten()
        last = cut.flatten().nonzero()[:, 0]
        returns, lengths = total[last], steps[last]
        row = last // reward.shape[1]
        follows = row == row.roll(1)  # whether an episode of the same row came before
        follows[:1].fill_(False)
        returns = torch.where(follows, returns - returns.roll(1), returns)
        lengths = torch.where(follows, lengths - lengths.roll(1), lengths)
        return cls(returns.to(reward.dtype), lengths)

    def summary(self, prefix: str = "") -> dict[str, Tensor]:
        """Mean, standard deviation over episodes, largest and smallest of both: ``<prefix>return_mean``, ..."""
        found = {}
        for name, values in (("return", self.returns.float()), ("length", self.lengths.float())):
            found[f"{prefix}{name}_mean"] = values.mean()
            found[f"{prefix}{name}_std"] = values.std(correction=0)
            found[f"{prefix}{name}_max"] = values.amax()
            found[f"{prefix}{name}_min"] = values.amin()
        return found
