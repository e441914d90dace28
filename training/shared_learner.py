"""Updates that several processes make together: as :class:`training.learner.Learner`, with a team."""

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor

from agents.agent import Agent, Phase, Updated
from replay import Replay
from training.learner import Learner
from training.team import Blueprint, Team


class SharedLearner(Learner):
    """The followers take over this agent's state at the first update, and whenever something was settled on the host
    since (:meth:`agents.agent.Captured.graph_key`); otherwise they have made the same updates and have the same.
    """

    agent: Agent

    def __init__(self, agent: Agent, replay: Replay, team: Team) -> None:
        super().__init__(agent, replay)
        self._team = team
        self._settled: tuple[Hashable, int] | None = None  # what the followers know of, and after how many updates

    def learn_from(self, batch: Mapping[str, Tensor]) -> Updated:
        now = self.agent.graph_key(None), self.agent.updates
        updated = self._team.update(self.agent, batch, with_state=now != self._settled)
        self._settled = now[0], self.agent.updates
        return updated

    def put_back(self) -> None:
        super().put_back()
        assert self._settled is not None
        self._settled = self._settled[0], self.agent.updates  # as the followers have done

    def close(self) -> None:
        self._team.close()


def build_learner(settings: Any, agent: Agent, replay: Replay, spec: Mapping[str, Any], phase: Phase) -> Learner:
    """The learner of a run with ``num_gpus`` in its settings; ``spec`` as of :class:`training.parts.Parts`.

    Raises :class:`UserError` where there are fewer GPUs.
    """
    if settings.num_gpus == 1:
        return Learner(agent, replay)
    shapes = tuple(spec["observation"][0]), spec["action"][0][0]
    return SharedLearner(
        agent, replay, Team(Blueprint(settings.plain(), *shapes, phase), agent.device, settings.num_gpus)
    )
