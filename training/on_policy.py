"""The on-policy run: collect a rollout, learn from it, throw it away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from agents.agent import Updated
from agents.rest.agent import RestAgent
from agents.rest.rollout import Rollout
from agents.rest.schedule import Turn
from envs.autoreset import AutoresetVector
from training import checkpoint
from training.clock import Clock
from training.learner import Kept, find_fault
from training.outlook import LONG, WORTH_SAYING
from training.rest_parts import RestParts
from training.rollouts import collect
from training.run import Origin, Run
from training.settings import RestKeys
from training.skill_models import link_model, model_path
from utils.durations import about
from utils.logger import Logger
from utils.seeding import random_state, set_random_state

ROUNDS = 4
"""Iterations before a word on the time: warm-ups are shorter than what follows."""

PUBLISHED = {
    "return_mean": "AverageCumulativeReward",
    "return_std": "StdCumulativeReward",
    "return_max": "MaxCumulativeReward",
    "return_min": "MinCumulativeReward",
    "length_mean": "AverageEpisodeLength",
    "length_std": "StdEpisodeLength",
    "length_max": "MaxEpisodeLength",
    "length_min": "MinEpisodeLength",
    "pi_loss": "LossPi",
    "value_loss": "LossValue",
    "rnd_loss": "LossRND",
}
"""Metrics of an iteration -> the columns that the published program has for them."""


class RolloutLearner:
    """Learns from one rollout at a time. An iteration in which a loss is no finite number is taken back whole."""

    def __init__(self, agent: RestAgent) -> None:
        self.agent = agent
        self.rollout: Rollout | None = None
        self._kept = Kept(agent)

    def update(self) -> Updated:
        """One iteration. Raises :class:`training.learner.NumericalFault`, all taken back then."""
        assert self.rollout is not None
        random = random_state(self.agent.device)
        self._kept.store()
        updated = self.agent.learn(self.rollout)
        fault = find_fault(updated.losses)
        if fault is not None:
            self._kept.put_back()
            set_random_state(random, self.agent.device)
            raise fault
        return Updated(*({PUBLISHED.get(name, name): value for name, value in part.items()} for part in updated))

    def close(self) -> None:
        """There is nothing to end."""

    def skip(self) -> None:
        """The turn counts as taken."""
        self.agent.updates += 1


class OnPolicyRun(Run):
    """Steps are iterations, of one turn after the other; one is ``num_envs`` * ``traj_len`` steps of environments.

    An iteration: all environments begin anew, the skill whose turn it is plays, everything is learned from that, a row
    of the log, and at the end of a turn the models of all skills. A stop signal while it plays takes the iteration
    back; while it learns, that is finished.
    """

    settings: RestKeys
    agent: RestAgent
    learner: RolloutLearner
    loop: ClassVar[str] = "on_policy"

    def __init__(
        self, settings: RestKeys, run_dir: Path, parts: RestParts, clock: Clock, logger: Logger, origin: Origin
    ) -> None:
        super().__init__(settings, run_dir, parts.agent, RolloutLearner(parts.agent), clock, logger, origin)
        self.notes += parts.notes
        self.envs: AutoresetVector = parts.envs
        self._smaller: str | None = None  # overrides of a smaller run
        self._told = False  # how long it will take
        self.models = settings.models_dir(run_dir)

    def describe(self) -> list[str]:
        schedule = self.agent.schedule
        plays = f"{self.settings.num_envs} x {self.settings.traj_len} steps of {self.settings.task}"
        return [
            f"models: {self.models}",
            f"{len(schedule):,} iterations of {plays}: {schedule.cycles} cycles of {schedule.num_skills} skills",
        ]

    @property
    def can_learn(self) -> bool:
        """Whether there is a rollout to learn from."""
        return self.learner.rollout is not None

    def iterate(self) -> None:
        number, turn = self.agent.updates, self.agent.turn
        random, envs = random_state(self.device), self.envs.get_state()
        self.learner.rollout = self._play(turn)
        if self.learner.rollout is None or self.update(1):  # a stop signal: everything as before the rollout
            set_random_state(random, self.device)
            self.envs.set_state(envs)
            return
        self.learner.rollout = None
        self.clock.step = self.agent.updates
        self._log(turn)
        if self._keeps(turn) and self.agent.schedule.ends_turn(number):
            with self.work.piece("snapshot"):
                self.save_models(number)
        self.logger.tick(self.frame)
        if self.checkpoint_due(self.agent.schedule.ends_turn(number)):
            self.save_checkpoint()

    def _play(self, turn: Turn) -> Rollout | None:
        """The rollout of a turn; None where a stop signal cut it short."""
        with self.work.piece("step"):
            return collect(self.envs, self.agent, turn.skill, self.settings.traj_len, lambda: self.stop.received)

    def _log(self, turn: Turn) -> None:
        """A row of the log."""
        self.logger.log_metrics(
            {"Epoch": turn.cycle, "Skill": turn.skill, "iteration": turn.iteration, "TotalEnvInteracts": self.frame},
            "train",
        )
        self.logger.dump(self.step, "train")

    def status(self) -> str:
        if self.agent.finished:
            return super().status()
        turn, schedule = self.agent.turn, self.agent.schedule
        return f"cycle {turn.cycle} of {schedule.cycles}, skill {turn.skill}, {super().status()}"

    def advise(self, smaller: str | None) -> None:
        self._smaller = smaller

    def look_ahead(self) -> None:
        """After the first iterations, a word on how long all of them will take."""
        if self._told or self.work.rounds < ROUNDS:
            return
        self._told = True
        seconds, (rollout, update) = self.seconds_left(), self._paces()
        if seconds is None or seconds < WORTH_SAYING:
            return
        parts = f"a rollout of {about(rollout)} and {about(update)} of learning in each"
        self.logger.say(f"time: about {about(seconds)}: {self.clock.steps - self.step:,} iterations, {parts}")
        if seconds >= LONG and self._smaller is not None:
            self.logger.say(f"note: fewer skills and shorter turns take less: {self._smaller}")

    def seconds_left(self) -> float | None:
        paces = self._paces()
        return None if None in paces else (self.clock.steps - self.step) * (sum(paces) + self.work.rest)

    def _paces(self) -> tuple[float, float]:
        """Seconds of a rollout, and of learning from one."""
        return self.work.paces["step"].seconds, self.work.paces["update"].seconds  # type: ignore[return-value]

    # ---- saving

    def _keeps(self, turn: Turn) -> bool:
        every, cycles = self.settings.keep_every, self.agent.schedule.cycles
        return turn.cycle % every == 0 or turn.cycle == cycles - 1

    def save_models(self, number: int) -> None:
        """All skills, at the end of the turn ``number``; those that stayed as they were are linked."""
        schedule = self.agent.schedule
        folder = self.models / schedule.snapshot(number)
        before, ours = self._models_before(number), checkpoint.written_by(self._header())
        for skill in reversed(range(schedule.num_skills)):  # a folder with skill 0 is whole, for who looks meanwhile
            path = model_path(folder, skill)
            same = skill != schedule.turn(number).skill and schedule.order != "together"
            if before is None or not same or not link_model(model_path(before, skill), path, ours):
                self.publish(path, self.agent.skill_state(skill))
        self.files.append(folder)
        self.logger.say(f"models: {folder}")

    def _models_before(self, number: int) -> Path | None:
        """The folder of the turn before this one, if it was kept."""
        schedule = self.agent.schedule
        ended = [n for n in range(max(number - schedule.iterations, 0), number) if schedule.ends_turn(n)]
        if not ended or not self._keeps(schedule.turn(ended[-1])):
            return None
        return self.models / schedule.snapshot(ended[-1])

    def _header(self) -> dict[str, Any]:
        return {**super()._header(), "loop": self.loop}

    def state(self) -> dict[str, Any]:
        return {"envs": checkpoint.arrays_to_tensors(self.envs.get_state())}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.envs.set_state(checkpoint.tensors_to_arrays(state["envs"]))
