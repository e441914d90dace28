"""The snapshot that a report is on, and the episodes that its sections look at: played once, when the first asks."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.agent import Acting, Acts, Agent, Mode
from agents.nn.observations import is_image
from analysis.clips import Films, at_size
from analysis.evaluate import to_play
from analysis.returns import OWN
from analysis.snapshot_tool import ACTING, build_env, needs_pictures
from training.evaluation import Picture, Played, play
from training.restored import restore_agent
from utils.errors import UserError
from utils.seeding import derive, own_randomness

RANDOM = "random actions"
"""What skills are compared with."""

MOST_SKILLS = 8
"""Shown where nothing else is asked for; of more, as many that are evenly spaced."""

PICTURE_SIZE, SMALLER, MANY = 160, 128, 6
"""Pixels a side, of each in a video; the second where there are more than so many."""

MOST_ENDS = 3

UNIFORM = 2
"""Random stream of the random actions, beside those of :mod:`analysis.snapshot_tool`."""


class NotHere(Exception):
    """A section that has nothing to say of this snapshot; the text says why, in a line."""


class Effort(NamedTuple):
    """How much is played."""

    episodes: int
    """Of every skill."""
    skills: str | None
    """As ``evaluate.py`` takes them; None: :data:`MOST_SKILLS` at most."""
    tasks: str
    """``all``, or some of the domain's with commas between them."""
    seed: int


class Episodes(NamedTuple):
    """What was played: from the same starts, whatever is played."""

    skills: dict[str, list[Played]]
    """By what was followed, an episode each of every start."""
    numbers: list[int]
    """Which skills they are; -1 for the agent's own choice."""
    films: dict[str, np.ndarray]
    """The first start of each, uint8 (T + 1, S, S, 3), perhaps thinned out; empty where nothing can be drawn."""
    ends: list[np.ndarray]
    """Of the first :data:`MOST_ENDS` starts, the last picture of each, uint8 (N, S, S, 3)."""
    unseen: str | None
    """Why nothing can be drawn."""

    def followed(self) -> dict[str, list[Played]]:
        """Without the agent's own choice."""
        return {name: own for name, own in self.skills.items() if name != OWN}


class Uniform:
    """Acts at random in place of an agent, and sees what it would see."""

    def __init__(self, agent: Acts) -> None:
        self.device, self._agent = agent.device, agent

    def start(self, count: int) -> Acting:
        """As the agent's."""
        return self._agent.start(count)

    def act(self, observation: Tensor, acting: Acting, is_first: Tensor, mode: Mode) -> tuple[Tensor, Acting]:
        """Uniform actions (n, A) in [-1, 1]."""
        return 2 * torch.rand_like(acting.action) - 1, acting


class Subject:
    """A snapshot of Dreamer's family or of DrQ, and what was played of it."""

    def __init__(
        self,
        path: Path,
        content: Mapping[str, Any],
        run: Path | None,
        effort: Effort,
        named: Collection[str],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.path, self.content, self.run, self.effort, self.tell = path, content, run, effort, tell
        self.config: Mapping[str, Any] = content["config"]
        self.agent: Agent = restore_agent(content, named=named)
        self.numbers: dict[str, Any] = {}
        """What sections have found out that is shown large at the top."""
        self._named = named
        self._found: dict[str, Any] = {}

    @property
    def sees_images(self) -> bool:
        """Whether observations are images."""
        return is_image(self.content["spec"]["observation"][0])

    @property
    def episodes(self) -> Episodes:
        """All that was followed."""
        return self._once("episodes", self._play)

    @property
    def random(self) -> list[Played]:
        """As many starts with random actions, seen as the agent would see them."""
        return self._once("random", self._play_random)

    @property
    def random_states(self) -> list[np.ndarray]:
        """Simulator states (T + 1, P) of as many episodes with random actions as were played of all skills."""
        return self._once("random states", self._play_unseen)

    def env(self, *, task: str | None = None, unseen: bool = False) -> gymnasium.Env:
        """The snapshot's environment, that of another ``task``, or one that draws nothing."""
        config = {**self.config, "task": task or self.config["task"]} | ({"obs_type": "states"} if unseen else {})
        return build_env(config, self.effort.seed, self._named, None if unseen else self.content["spec"])

    def to_play(self) -> dict[str, Tensor | None]:
        """What is followed, by name."""
        count = len(self.agent.shown.candidates(self.agent.device)) if self.agent.shown.dim else 0
        asked = self.effort.skills
        if asked is None:
            few = sorted({i * count // MOST_SKILLS for i in range(MOST_SKILLS)})
            asked = ",".join(map(str, few)) if count > MOST_SKILLS else "all"
        return to_play(self.agent, asked)

    def _once(self, what: str, make: Callable[[], Any]) -> Any:
        if what not in self._found:
            try:
                self._found[what] = make()
            except Exception as error:  # every section that needs it says so, and none tries it again
                self._found[what] = error
        if isinstance(found := self._found[what], Exception):
            raise found
        return found

    @torch.no_grad()
    def _play(self) -> Episodes:
        wanted, unseen = self.to_play(), None
        try:
            needs_pictures("report.py", self.config)
        except UserError as error:
            unseen = str(error)
        env = self.env()
        size = PICTURE_SIZE if len(wanted) <= MANY else SMALLER
        picture: Picture | None = None if unseen else at_size(env, size)
        found: dict[str, list[Played]] = {name: [] for name in wanted}
        films = Films(len(wanted))
        ends: list[list[Any]] = [[] for _ in range(min(MOST_ENDS, self.effort.episodes))]
        try:
            for number in range(self.effort.episodes):
                before = env.get_state()  # type: ignore[attr-defined]
                for name, skill in wanted.items():
                    env.set_state(before)  # type: ignore[attr-defined]
                    with own_randomness(self.agent.device, derive(self.effort.seed, ACTING, number)):
                        one = play(self.agent, env, skill, picture=picture if number == 0 else None)
                    assert one is not None
                    if len(one.pictures):
                        films.add(name, one.pictures)
                    if picture is not None and number < len(ends):
                        ends[number].append(picture())
                    found[name].append(one._replace(pictures=np.empty(0)))
                    self.tell(f"start {number + 1}/{self.effort.episodes}, {name}: return {one.reward:.1f}")
        finally:
            env.close()
        candidates = self.agent.shown.candidates(self.agent.device)
        which = [
            -1 if skill is None else int((candidates == skill).all(-1).nonzero()[0, 0]) for skill in wanted.values()
        ]
        shown = {} if picture is None else films.clips()
        return Episodes(found, which, shown, [np.stack(row) for row in ends if row], unseen)

    def _play_random(self) -> list[Played]:
        env = self.env()
        try:
            return self._uniform(env, self.effort.episodes)
        finally:
            env.close()

    def _play_unseen(self) -> list[np.ndarray]:
        count = self.effort.episodes * len(self.episodes.skills)
        env = self.env(unseen=True)
        try:
            return [one.states for one in self._uniform(env, count)]
        finally:
            env.close()

    @torch.no_grad()
    def _uniform(self, env: gymnasium.Env, count: int) -> list[Played]:
        found = []
        with own_randomness(self.agent.device, derive(self.effort.seed, UNIFORM)):
            for number in range(count):
                one = play(cast(Acts, Uniform(self.agent)), env)
                assert one is not None
                found.append(one)
                self.tell(f"{RANDOM}, {number + 1}/{count}")
        return found
