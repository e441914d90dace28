"""What a run says about the time it will take on this machine, and what it tries out for that."""

from agents.agent import Phase
from replay import Replay
from training.evaluators import Stage
from training.settings import OffPolicyKeys
from training.time_left import TimeLeft
from training.trial import attempt
from training.work import Work
from utils.durations import DAY, about

LONG = DAY
"""Seconds from which on a run says how it would be shorter."""

WORTH_SAYING = 60.0
"""Seconds of which a run that takes less says nothing."""

ROUNDS = 50
"""Steps that are timed before anything is said."""


class Outlook:
    """Looks ahead between two steps or updates of a run; nothing it does changes a number of the run."""

    def __init__(self, settings: OffPolicyKeys, phase: Phase, stage: Stage, replay: Replay, work: Work) -> None:
        self.settings, self.phase, self.stage, self.replay, self.work = settings, phase, stage, replay, work
        self.left = TimeLeft(
            settings.schedule,
            stage.clock,
            stage.counters,
            work,
            num_envs=settings.num_envs,
            marks=settings.snapshots,
        )
        self.smaller: str | None = None
        """Overrides of a smaller run, which one that takes days may advise."""
        self._tried = self._told = False

    def look(self) -> None:
        """Once there is something to learn from, and updates do not begin anyway, a trial; then a word on the time."""
        if not self._tried and self.replay.ready and not self.stage.stopped():
            self._tried = True
            # the twin of a shared agent would learn from whole batches alone
            alone = self.settings.num_gpus == 1
            if alone and self.stage.clock.step + self.settings.num_envs < self.settings.schedule.seed_steps:
                self._try()
        if not self._told and self.work.rounds >= ROUNDS and self.left.estimate().useful:
            self._told = True
            self._tell()

    def _try(self) -> None:
        stage = self.stage
        try:
            with self.work.piece("trial"):
                trial = attempt(
                    self.settings, self.phase, stage.agent, self.replay, stage.clock.last_frame, stage.stopped
                )
        except Exception as error:  # an agent may raise anything; what is only said kills no run
            stage.logger.say(f"note: no update could be timed ahead ({str(error) or type(error).__name__})")
            return
        if trial is not None:
            self.left.tried(trial)

    def _tell(self) -> None:
        estimate, clock, say = self.left.estimate(), self.stage.clock, self.stage.logger.say
        if estimate.seconds < WORTH_SAYING:
            return
        say(f"time: {estimate.describe()}")
        if estimate.seconds < LONG:
            return
        if self.smaller is not None:
            say(f"note: smaller networks and a shorter run take less on this machine: {self.smaller}")
        steps = self.left.steps_in(DAY)
        if steps >= 2 * self.settings.schedule.seed_steps:
            length = rounded(steps, clock.frames if clock.unit == "frames" else 1)
            say(f"note: a day is enough for {clock.key}={length}")

    def words(self) -> str:
        """The time left, empty while it is not known; asked from another thread, too."""
        estimate, piece = self.left.estimate(), self.work.now
        if not estimate.useful:
            return ""
        seconds = estimate.seconds
        if piece is not None:
            seconds -= min(self.work.busy, estimate.each.get(piece.kind, 0.0))
        return f"{about(seconds)}{' + evaluations' if estimate.unknown else ''} left"


def rounded(steps: int, frames: int) -> int:
    """About ``steps`` steps of so many ``frames``, in frames: two figures, a multiple of ``frames``."""
    exact = steps * frames
    unit = 10 ** max(len(str(exact)) - 2, 0)
    short = exact - exact % unit
    return short - short % frames
