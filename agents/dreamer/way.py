"""The skills that lead to a goal, a new one at every step, of methods that know in which direction it lies."""

from typing import Any

import torch
from torch import Tensor

from agents.agent import Acting
from agents.dreamer.agent import DreamerAgent
from agents.exploration.intrinsic_reward import Directed
from agents.nn.latent import Latent


class Way:
    """The skill of every step of an episode on its way to where ``goal`` is observed, uint8 (C, S, S) or float32 (D,):
    METRA's zero-shot goals (Park et al., 2024, section 5.3), renewed at every step.

    Where one is, is the latent state before the present observation is filtered, which the action follows; at the first
    step there is none, and the first observation is taken for one that stands still, as the goal is.
    """

    def __init__(self, agent: DreamerAgent, goal: Tensor) -> None:
        method: Any = agent.main.method
        assert isinstance(method, Directed), "a method without directions is refused before a run"
        self._method, self._model, self._device = method, agent.world_model, agent.device
        self._goal = self._standing(goal)
        self._skill: Tensor | None = None

    @torch.no_grad()
    def __call__(self, acting: Acting, observation: Tensor, first: bool) -> Tensor:
        """The skill (D,) of this step; the one before where the goal is reached."""
        memory: Any = acting.memory
        here = self._standing(observation) if first else Latent(*memory).feat[0]
        skill = self._method.goal_skill(here, self._goal)
        if self._skill is None or first or bool(skill.any()):
            self._skill = skill
        return self._skill

    def _standing(self, observation: Tensor) -> Tensor:
        return self._model.standing(observation.to(self._device)).feat
