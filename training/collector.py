"""Steps environments with an agent and writes every record to the replay."""

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv

from agents.agent import Acting, Acts, Mode
from envs.vector import get_states, set_states
from replay import Replay
from training.actions import executable
from training.checkpoint import arrays_to_tensors, tensors_to_arrays
from training.transfer import Transfer


class Episode(NamedTuple):
    """A finished training episode."""

    reward: float
    """Sum of the task's rewards."""
    length: int
    """Frames."""
    env: int = 0
    """Index of its environment."""


class Collector:
    """n environments, the agent's acting state on them, and the replay they feed.

    Records are aligned as the published replay has them: image t, the action that led to it, the reward received on
    arriving, the skill that chose the action. ``skill_valid`` is false for reset records and random actions.
    """

    def __init__(self, envs: gymnasium.vector.VectorEnv, agent: Acts, replay: Replay, action_repeat: int) -> None:
        self.envs, self.agent, self.replay = envs, agent, replay
        self.action_repeat = action_repeat
        count = envs.num_envs
        self._acting: Acting = agent.start(count)
        self._transfer = Transfer(agent.device)
        self._skill: list[np.ndarray] = []  # of the environments, (n, skills), where it is recorded
        space = envs.observation_space["observation"]  # type: ignore[index]
        self._observation = np.zeros(space.shape, space.dtype)
        self._is_first = np.zeros(count, bool)
        self._done = np.ones(count, bool)
        self._returns = np.zeros(count)
        self._lengths = np.zeros(count, int)
        self._sent: tuple[np.ndarray, Mode] | None = None  # actions (n, A) of the step in flight, and how they came

    @property
    def in_flight(self) -> bool:
        """Whether a step has begun and is not finished."""
        return self._sent is not None

    def step(self, mode: Mode) -> list[Episode]:
        """One step of every environment (new episodes begin first); returns the episodes that just ended."""
        self.begin_step(mode)
        return self.finish_step()

    def begin_step(self, mode: Mode) -> None:
        """The first half of :meth:`step`: begin new episodes, act, and send the actions to the environments.

        Those in worker processes simulate and render from here on, those in this process in :meth:`finish_step`.
        """
        if self.in_flight:
            raise RuntimeError("a step is in flight; finish_step() comes first")
        self._begin_episodes()
        observation, is_first = self._transfer.to_device(self._observation, self._is_first)
        action, self._acting = self.agent.act(observation, self._acting, is_first, mode)
        leaves = (action, self._acting.skill) if self.agent.recorded.dim else (action,)
        found, *self._skill = self._transfer.to_host(*leaves)
        actions = executable(found)
        if isinstance(self.envs, AsyncVectorEnv):
            self.envs.step_async(actions)
        self._sent = actions, mode

    def finish_step(self) -> list[Episode]:
        """The second half: wait for the environments and store what they did; returns the episodes that just ended."""
        if self._sent is None:
            raise RuntimeError("no step is in flight; begin_step() comes first")
        actions, mode = self._sent
        if isinstance(self.envs, AsyncVectorEnv):
            seen, reward, terminated, truncated, info = self.envs.step_wait()
        else:
            seen, reward, terminated, truncated, info = self.envs.step(actions)
        self._sent = None
        self._observation = seen["observation"]
        self._is_first = np.zeros_like(self._is_first)
        self._done = terminated | truncated
        self._store(actions, reward, self._done, terminated, info, np.full(len(actions), mode != "random"))
        self._returns += reward
        self._lengths += self.action_repeat
        return [Episode(float(self._returns[i]), int(self._lengths[i]), int(i)) for i in np.flatnonzero(self._done)]

    def _begin_episodes(self) -> None:
        begins = self._done
        if not begins.any():
            return
        seen, info = self.envs.reset(options={"reset_mask": begins})
        self._observation = seen["observation"]
        self._is_first = begins.copy()
        self._acting = self.agent.begin(self._acting, torch.from_numpy(begins).to(self.agent.device))
        if self.agent.recorded.dim:
            self._skill = [self._acting.skill.cpu().numpy()]
        self._returns[begins] = 0
        self._lengths[begins] = 0
        none = np.zeros(len(begins), bool)
        actions = np.zeros((len(begins), *self._acting.action.shape[1:]), np.float32)
        self._store(actions, np.zeros(len(begins)), none, none, info, none, mask=begins, is_first=True)
        self._done = none

    def _store(
        self,
        action: np.ndarray,
        reward: np.ndarray,
        is_last: np.ndarray,
        is_terminal: np.ndarray,
        info: dict[str, Any],
        skill_valid: np.ndarray,
        mask: np.ndarray | None = None,
        is_first: bool = False,
    ) -> None:
        record = {
            "observation": self._observation,
            "action": action.astype(np.float32),
            "reward": reward.astype(np.float32),
            "is_first": np.full(len(action), is_first),
            "is_last": is_last,
            "is_terminal": is_terminal,
        }
        if self.agent.recorded.dim:
            record |= {"skill": self._skill[0], "skill_valid": skill_valid}
        if "physics" in (self.replay.layout.dtype.names or ()):
            record["physics"] = np.asarray(info["physics"], np.float64)  # the layout has it where the environment does
        self.replay.add(record, mask)

    def state_dict(self) -> dict[str, Any]:
        """Environments, acting state and running sums, as tensors and plain values. Only between two steps."""
        if self.in_flight:
            raise RuntimeError("a step is in flight; a checkpoint is of whole steps")
        return {
            "envs": arrays_to_tensors(get_states(self.envs)),
            "latent": list(self._acting.memory),  # the name it has had since the first checkpoints
            "action": self._acting.action,
            "skill": self._acting.skill,
            "age": self._acting.age,
            "plan": self._acting.plan,
            "is_first": self._is_first.tolist(),
            "done": self._done.tolist(),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the environments back (unfinished episodes are stepped again without rendering) and go on from there."""
        self._observation = set_states(self.envs, tensors_to_arrays(state["envs"]))["observation"]
        kind = type(self._acting.memory)
        memory = kind._make(x.to(self.agent.device) for x in state["latent"])  # type: ignore[attr-defined]
        self._acting = Acting(memory, *(state[key].to(self.agent.device) for key in ("action", "skill", "age", "plan")))
        self._is_first = np.array(state["is_first"])
        self._done = np.array(state["done"])
        self._returns = np.array(state["returns"], float)
        self._lengths = np.array(state["lengths"], int)
