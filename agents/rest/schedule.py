"""Whose turn it is: the order in which skills are trained, and away from whom (Jiang et al. 2022, algorithm 1)."""

from typing import Literal, NamedTuple

Order = Literal["code", "paper", "plain", "together"]
"""How training goes through the skills; see :class:`Schedule`."""


class Turn(NamedTuple):
    """One iteration: a rollout, and what is learned from it."""

    cycle: int
    skill: int
    iteration: int
    """Of this skill in this cycle; of a warm-up, counted for itself."""
    active: tuple[int, ...]
    """The skills that this one is to keep away from."""
    trains: bool
    """Whether the policy learns; a warm-up fits the density alone."""


class Schedule:
    """Turns 0, 1, ... of a run, each a function of its number alone: a run that goes on needs to know how far it came.

    A cycle gives every skill ``iterations`` iterations in a row, one skill after the other.

    - ``code``, the order of the published program: ``warmup`` rollouts of skill 0, to which only its density is fitted;
      in cycle 0 skill k = 1, 2, ... keeps away from 0 .. k - 1, and skill 0 is left out; from cycle 1 on each keeps
      away from all others.
    - ``paper``, the order of algorithm 1: one such rollout of every skill; then each keeps away from all others.
    - ``plain``: cycles from the start, nobody to keep away from.
    - ``together``: as plain, but a cycle is ``iterations`` rounds in which every skill has one.
    """

    def __init__(self, order: Order, num_skills: int, cycles: int, iterations: int, warmup: int) -> None:
        self.order, self.num_skills, self.cycles, self.iterations = order, num_skills, cycles, iterations
        self.warmup = {"code": warmup, "paper": num_skills}.get(order, 0)
        self.skipped = iterations if order == "code" else 0

    def __len__(self) -> int:
        return self.warmup + self.cycles * self.num_skills * self.iterations - self.skipped

    def turn(self, number: int) -> Turn:
        """Raises ``IndexError`` after the last."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no turn {number} of {len(self)}")
        if number < self.warmup:
            skill, iteration = (number, 0) if self.order == "paper" else (0, number)
            return Turn(0, skill, iteration, (), False)
        cycle, place = divmod(number - self.warmup + self.skipped, self.num_skills * self.iterations)
        if self.order == "together":
            iteration, skill = divmod(place, self.num_skills)
        else:
            skill, iteration = divmod(place, self.iterations)
        return Turn(cycle, skill, iteration, self._others(cycle, skill), True)

    def _others(self, cycle: int, skill: int) -> tuple[int, ...]:
        if self.order in ("plain", "together"):
            return ()
        count = skill if self.order == "code" and cycle == 0 else self.num_skills
        return tuple(other for other in range(count) if other != skill)

    def ends_turn(self, number: int) -> bool:
        """Whether the skill of this turn is done for this cycle: the time for a snapshot of all skills."""
        turn = self.turn(number)
        return turn.trains and turn.iteration == self.iterations - 1

    def snapshot(self, number: int) -> str:
        """The folder of the snapshot after that turn: ``<cycle>/<skill>/<iteration>``."""
        turn = self.turn(number)
        return f"{turn.cycle}/{turn.skill}/{turn.iteration}"

    def snapshots(self) -> list[str]:
        """Of the whole run, in order."""
        return [self.snapshot(number) for number in range(len(self)) if self.ends_turn(number)]
