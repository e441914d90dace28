"""How long a run will still take: what is to come of each kind of work, times what one piece of it has taken."""

from typing import Any, NamedTuple

from training.clock import Clock
from training.settings import Schedule
from training.trial import Trial
from training.work import Kind, Work
from utils.durations import about
from utils.schedule import crossed, times_due

CALLED: dict[Kind, str] = {
    "random step": "random steps",
    "step": "steps",
    "update": "updates",
    "evaluation": "evaluations",
    "snapshot": "snapshots",
}


class Estimate(NamedTuple):
    """What is to come."""

    pieces: dict[Kind, int]
    """How many of each kind."""
    each: dict[Kind, float]
    """Seconds of one; kinds nobody has timed yet are missing."""
    rest: float
    """Seconds of all that is of no kind."""

    @property
    def unknown(self) -> list[str]:
        """What is to come and has not been timed, in words. Snapshots are few, and quickly written."""
        return [CALLED[kind] for kind, n in self.pieces.items() if n and kind not in self.each and kind != "snapshot"]

    @property
    def useful(self) -> bool:
        """Whether all but evaluations is known."""
        return not set(self.unknown) - {CALLED["evaluation"]}

    @property
    def seconds(self) -> float:
        """Of all that is known."""
        return self.rest + sum(n * self.each.get(kind, 0.0) for kind, n in self.pieces.items())

    def describe(self) -> str:
        """``about 62 days: 199,600 updates of 26 s, 998,005 steps of 0.052 s``; the largest part first."""
        parts = sorted(self.each, key=lambda kind: self.pieces[kind] * self.each[kind], reverse=True)
        named = [f"{self.pieces[k]:,} {CALLED[k]} of {about(self.each[k])}" for k in parts if self.pieces[k]]
        missing = f" (without {' and '.join(self.unknown)}, not timed yet)" if self.unknown else ""
        return f"about {about(self.seconds)}{missing}: {', '.join(named)}"


class TimeLeft:
    """Of an off-policy run.

    ``counters`` are a :class:`training.run.Counters`, ``marks`` the frames of its snapshots.
    """

    def __init__(
        self, schedule: Schedule, clock: Clock, counters: Any, work: Work, *, num_envs: int, marks: list[int]
    ) -> None:
        self.schedule, self.clock, self.counters, self.work = schedule, clock, counters, work
        self.num_envs, self.marks = num_envs, marks
        self._trial: Trial | None = None
        self._changes = 0  # until the agent acts as it will at the end

    def tried(self, trial: Trial) -> None:
        """Go by what a trial found where nothing else is known."""
        self._trial, self._changes = trial, trial.changes
        self.work.paces["update"].guess = trial.update

    def changed(self) -> None:
        """From now on the agent acts in another way: what its actions took is no measure any more."""
        for kind in ("step", "evaluation"):
            guess = self.seconds_of(kind)  # type: ignore[arg-type]
            if self._changes < 2:
                self.work.paces[kind].forget(guess)  # type: ignore[index]
        self._changes = max(self._changes - 1, 0)

    def estimate(self, steps: int | None = None) -> Estimate:
        """For the rest of a run, of so many ``steps``; None: of its length."""
        pieces = self._to_come(self.clock.steps if steps is None else steps)
        each = {kind: seconds for kind in pieces if (seconds := self.seconds_of(kind)) is not None}
        return Estimate(pieces, each, self.work.rest * (pieces["random step"] + pieces["step"]))

    def steps_in(self, seconds: float) -> int:
        """The length in steps of a run that would be over in ``seconds`` from now."""
        low, high = self.clock.step, self.clock.steps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.estimate(middle).seconds <= seconds else (low, middle)
        return low

    def seconds_of(self, kind: Kind) -> float | None:
        """Of one piece of ``kind`` that is to come, as far as it is known."""
        seconds, trial = self.work.paces[kind].seconds, self._trial
        random = self.work.paces["random step"].seconds
        if trial is None:
            return seconds
        if kind == "step":
            if seconds is None and random is not None:
                seconds = random + trial.first.train
            if seconds is not None and self._changes:
                seconds += trial.last.train - trial.first.train
        if kind == "evaluation" and seconds is not None and self._changes:
            step = self.work.paces["step"].seconds
            there = random if random is not None else (step or 0.0)
            seconds *= (there + trial.last.look) / (there + trial.first.look)
        return seconds

    def _to_come(self, steps: int) -> dict[Kind, int]:
        now, repeat, plan = self.clock.step, self.clock.frames, self.schedule
        rounds = -(-max(steps - now, 0) // self.num_envs)
        seeding = max(min(plan.seed_steps, steps) - now, 0) if plan.random_seed_actions else 0
        random = min(-(-seeding // self.num_envs), rounds)
        first = max(now, plan.seed_steps) - 1
        updates = plan.updates_at_once * max(times_due(first, steps - 1, plan.update_every), 0)
        frames, every = (now * repeat, steps * repeat), plan.evaluate_every
        evaluations = 0 if every is None else int(self.counters.evaluation_due) + times_due(*frames, every)
        return {
            "random step": random,
            "step": rounds - random,
            "update": max(updates + self.counters.updates_owed, 0),
            "evaluation": evaluations,
            "snapshot": len(crossed(*frames, self.marks)),
        }
