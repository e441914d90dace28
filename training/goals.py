"""Evaluating which goals the skills of an agent reach that has not learned the task."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from agents.dreamer.agent import DreamerAgent
from agents.dreamer.way import Way
from agents.skills import SkillSpace
from training.episode_log import EpisodeLog
from training.evaluation import Played, play
from training.evaluators import VIDEO_FPS, MeanActions, Stage
from training.parts import EVALUATION
from utils.csv_log import CsvLog
from utils.goal_plot import goal_bars, goal_map
from utils.seeding import derive, own_randomness
from utils.statistics import wilson
from utils.video import upscale

GOALS_CSV = "goals.csv"
COLUMNS = ("frame", "step", "goal", "x", "y", "z", "episode", "return", "reached", "skills")

GoalMode = Literal["random_skills", "nearest_code", "toward_goal"]

HOW: dict[GoalMode, str] = {
    "random_skills": "random skills",
    "nearest_code": "the skill of the nearest code",
    "toward_goal": "the skills toward them",
}


class Target(NamedTuple):
    """One goal."""

    goal: int
    """Its number."""
    place: tuple[float, float, float]
    """x, y and z in m."""


class Attempt(NamedTuple):
    """One episode."""

    target: Target
    episode: int
    """Its number, of those of this goal."""
    reward: float
    length: int
    """Frames."""
    reached: bool
    skills: str
    """Names of the skills it followed, in their order; empty where there was another at every step."""


class GoalLog(EpisodeLog):
    """Besides, a row of ``goals.csv`` for every episode of :class:`ReachedGoals`."""

    def __init__(self, run_dir: Path) -> None:
        self._rows = CsvLog(run_dir / GOALS_CSV, COLUMNS, text=("skills",))

    def record(self, stage: Stage, attempt: Attempt) -> None:
        """An evaluation episode."""
        values = (
            *(stage.clock.frame, stage.clock.step, attempt.target.goal, *attempt.target.place),
            *(attempt.episode, attempt.reward, float(attempt.reached), attempt.skills),
        )
        self._rows.append(dict(zip(COLUMNS, values, strict=True)))

    def flush(self) -> None:
        self._rows.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"goal_rows": len(self._rows)}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        self._rows.truncate_rows((state or {}).get("goal_rows", 0))


class GoalViews:
    """What is to be observed at goals, each found once, in an environment of its own."""

    def __init__(self, make: Callable[[], gymnasium.Env], look: Callable[[gymnasium.Env, int], NDArray[Any]]) -> None:
        self._make, self._look = make, look
        self._seen: dict[int, NDArray[Any]] = {}

    @contextmanager
    def of(self, targets: list[Target]) -> Iterator[Callable[[int], NDArray[Any]]]:
        """Looks at a goal by its number: uint8 (3, S, S) or float32 (D,)."""
        with ExitStack() as stack:
            env = (
                None
                if all(target.goal in self._seen for target in targets)
                else stack.enter_context(closing(self._make()))
            )

            def view(goal: int) -> NDArray[Any]:
                if goal not in self._seen:
                    assert env is not None
                    self._seen[goal] = self._look(env, goal)
                return self._seen[goal]

            yield view


class Wandering:
    """Random skills for one episode, another one every ``period`` steps, the first at its beginning."""

    def __init__(self, space: SkillSpace, period: int, device: torch.device) -> None:
        self._space, self._period, self._device = space, period, device
        self.drawn: list[torch.Tensor] = []

    def __call__(self, step: int) -> torch.Tensor:
        """The skill (n,) of ``step``; asked of every step in turn."""
        if step % self._period == 0:
            self.drawn.append(self._space.sample(1, self._device)[0])
        return self.drawn[-1]


class ReachedGoals(MeanActions):
    """``episodes`` episodes for every one of ``targets``: is it reached?

    ``random_skills``: an episode follows random skills, another one every ``period`` steps, by samples of their policy:
    how many goals do skills come by that know of none (the published zero-shot evaluation)? The other modes need
    ``views`` and take mean actions: ``nearest_code`` follows the one skill that the agent takes for the nearest to what
    is observed at the goal, ``toward_goal`` at every step the one whose direction leads there.

    ``reached`` says of an episode whether it reached its goal. With ``aims`` the environment has to be told which goal
    is next. ``names`` are what the picture calls goals that are not places.
    """

    def __init__(
        self,
        episodes: int,
        targets: list[Target],
        *,
        reached: Callable[[Played, Target], bool],
        aims: bool,
        period: int,
        mode: GoalMode,
        views: GoalViews | None,
        log: GoalLog,
        run_dir: Path,
        most_skills: int,
        skill_steps: int,
        names: list[str] | None = None,
    ) -> None:
        super().__init__(episodes, most_skills=most_skills, skill_steps=skill_steps)
        self.targets, self.reached, self.aims, self.period, self.names = targets, reached, aims, period, names
        self.mode, self.views, self.log, self.run_dir = mode, views, log, run_dir
        assert (views is None) == (mode == "random_skills")

    def evaluate(self, stage: Stage) -> bool:
        seed = derive(stage.seed, EVALUATION, stage.counters.evaluations)
        with own_randomness(stage.agent.device, seed), self._told_goals(stage.env):
            attempts = self._play_all(stage)
        if attempts is None:
            return False
        for attempt in attempts:
            self.log.record(stage, attempt)
            stage.logger.log("episode_reward", attempt.reward, "eval")
            stage.logger.log("episode_length", attempt.length, "eval")
        hits = sum(attempt.reached for attempt in attempts)
        low, high = wilson(hits, len(attempts))
        summed = {"success_rate": hits / len(attempts), "success_low": low, "success_high": high}
        summed["goals_reached"] = len({attempt.target.goal for attempt in attempts if attempt.reached})
        for name, value in summed.items():
            stage.logger.log(name, value, "eval")
        self._draw(stage, attempts, f"{hits} of {len(attempts)} episodes, 95 % interval {low:.3f} to {high:.3f}")
        return True

    @contextmanager
    def _told_goals(self, env: gymnasium.Env) -> Iterator[None]:
        """Leaves the environment with the goal it had."""
        reach: Any = env.unwrapped
        aimed = reach.aimed if self.aims else None
        try:
            yield
        finally:
            if self.aims:
                reach.aim(aimed)

    def _play_all(self, stage: Stage) -> list[Attempt] | None:
        """None when the run is to stop."""
        if self.views is None:
            return self._attempts(stage, lambda goal: None)
        with self.views.of(self.targets) as view:

            def chosen(goal: int) -> torch.Tensor | Way:
                seen = torch.from_numpy(view(goal))
                if self.mode == "toward_goal":
                    assert isinstance(stage.agent, DreamerAgent)
                    return Way(stage.agent, seen)
                skill = stage.agent.skill_to(seen)
                assert skill is not None, "an agent without codes is refused before a run"
                return skill

            return self._attempts(stage, chosen)

    def _attempts(self, stage: Stage, choose: Callable[[int], torch.Tensor | Way | None]) -> list[Attempt] | None:
        found: list[Attempt] = []
        for target in self.targets:
            if self.aims:
                stage.env.unwrapped.aim(target.goal)  # type: ignore[attr-defined]
            guide = choose(target.goal)
            for episode in range(self.episodes):
                stage.begins(len(found) + 1, len(self.targets) * self.episodes)
                attempt = self._attempt(stage, target, episode, guide, films=not found)
                if attempt is None:
                    return None
                found.append(attempt)
        return found

    def _attempt(
        self, stage: Stage, target: Target, episode: int, guide: torch.Tensor | Way | None, *, films: bool
    ) -> Attempt | None:
        agent, films = stage.agent, films and stage.film is not None
        drawn = Wandering(agent.shown, self.period, agent.device) if guide is None else None
        led, skill = (guide, None) if isinstance(guide, Way) else (None, guide)
        picture = stage.picture if films else None
        played = play(agent, stage.env, skill, drawn=drawn, led=led, picture=picture, should_stop=stage.stopped)
        if played is None:
            return None
        if films and stage.film is not None and len(played.shown):
            stage.film("episode", upscale(played.shown[:-1], 4), "eval", VIDEO_FPS)
        followed = drawn.drawn if drawn is not None else [skill]
        names = "; ".join(agent.shown.name(one) for one in followed if one is not None)
        length = (len(played.images) - 1) * stage.clock.frames
        return Attempt(target, episode, played.reward, length, self.reached(played, target), names)

    def _draw(self, stage: Stage, attempts: list[Attempt], said: str) -> None:
        """A picture beside the table; a run does not end because there can be none."""
        path = self.run_dir / f"goals_{stage.clock.frame}.png"
        shares = [np.mean([one.reached for one in attempts if one.target == target]) for target in self.targets]
        title = f"Goals reached by {HOW[self.mode]}: {said}"
        try:
            if self.names is not None:
                goal_bars([self.names[target.goal] for target in self.targets], np.array(shares), path, title=title)
                return
            goal_map(
                np.array([target.place for target in self.targets]),
                np.array(shares),
                path,
                names=[target.goal for target in self.targets],
                title=title,
            )
        except Exception as error:  # whatever the drawing library comes up with
            stage.logger.say(f"note: {path.name} cannot be drawn ({error}); {GOALS_CSV} has its numbers")
