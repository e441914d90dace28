"""The kinds of goals there are: how one looks, and when an episode has reached it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
from numpy.typing import NDArray

from envs.goals import Goals
from training.evaluation import Played
from training.goals import Target


class GoalKind(NamedTuple):
    """What a kind does."""

    look: Callable[[gymnasium.Env, int], NDArray[Any]]
    """What is to be observed at a goal, by an environment kept for this and the goal's number."""
    reached: Callable[[Played, Target], bool]
    names: list[str] | None = None
    """Of goals that are no places."""


def goal_kind(goals: Goals) -> GoalKind:
    """The kind of a domain's ``goals``. Imports MuJoCo."""
    if goals.poses:
        return _poses()
    if goals.in_sets:
        from envs.metaworld import at_goal as look
    else:
        from envs.at_brick import at_brick as look
    above = goals.reached_above
    assert above is not None
    return GoalKind(look, lambda played, target: played.reward > above)


def _poses() -> GoalKind:
    from envs.poses import POSES, TOLERANCE, at_pose, distances

    def reached(played: Played, target: Target) -> bool:
        """By the state that is nearest to the pose."""
        return bool(distances(played.states, target.goal, target.place[2]).min() <= TOLERANCE)

    return GoalKind(at_pose, reached, [pose.name for pose in POSES])
