"""ReST (Jiang et al. 2022): N independent skills, trained one after the other away from where the others go."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.nn.loading import load_part
from agents.nn.optimizer import Optimizer
from agents.rest.advantages import estimates
from agents.rest.density import Densities, ScaledPositions, View
from agents.rest.diayn import Discriminator
from agents.rest.footprint import activation_bytes
from agents.rest.networks import Skill
from agents.rest.ppo import Experience, fit_values, improve
from agents.rest.reward import soft_minimum
from agents.rest.rollout import Episodes, Rollout
from agents.rest.schedule import Order, Schedule, Turn
from agents.rest.settings import RestSettings

SIZES = "Use the settings it was trained with: env, num_skills, and the sizes of the networks."

RestMode = Literal["train", "eval"]
"""A sample of the policy, or its mean."""


class RestAgent(nn.Module):
    """N policies, critics and normalisers, each of one skill, and what rewards them.

    ``method`` says what that is:

    - ``rest``: the soft minimum over the other skills' densities
    - ``diayn``: log q(z | s_{t+1}) + log N of a classifier; the skills have independent networks, as ReST's do, and are
      trained together, an iteration each in turns. Per skill and cycle that is as many steps as ReST takes.
    - ``task``: the environment's reward, for all skills
    - ``random``: nothing, policies stay as they are

    An observation is float32 (D,) as the environment gives it. Policies and critics do not see its first ``exclude``
    columns, densities and classifier do. ``rnd.obs=positions_scaled`` scales the first ``positions`` columns, as many
    as are excluded by default.

    ``updates`` counts turns of :attr:`schedule`; all else that :meth:`learn` changes are the tensors of
    :meth:`training_state`, in place.
    """

    def __init__(
        self,
        settings: RestSettings,
        obs_dim: int,
        action_dim: int,
        *,
        exclude: int = 0,
        positions: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.settings, self.method = settings, settings.method
        self.name: str = settings.method
        self.obs_dim, self.action_dim, self.num_skills = obs_dim, action_dim, settings.num_skills
        self.device = torch.device(device)
        self.updates = 0
        self.schedule = schedule_of(settings)
        self._build_networks(settings, exclude, exclude if positions is None else positions)
        self.to(self.device)
        self._build_optimizers(settings)

    def _build_networks(self, settings: RestSettings, exclude: int, positions: int) -> None:
        count = settings.num_skills
        skills = [Skill(self.obs_dim, self.action_dim, settings.ppo, exclude=exclude) for _ in range(count)]
        if settings.same_start:
            skills = [copy.deepcopy(skills[0]) for _ in range(count)]
        self.skills = nn.ModuleList(skills)
        self.densities: Densities | None = None
        self.discriminator: Discriminator | None = None
        if self.method == "rest":
            shared: View = ScaledPositions(positions, settings.rnd.position_scale)
            if settings.rnd.obs == "raw":
                shared = nn.Identity()
            views = [skill.normalizer for skill in skills] if settings.rnd.obs == "normalised" else [shared] * count
            self.densities = Densities(self.obs_dim, settings.rnd, views, same_start=settings.same_start)
        elif self.method == "diayn":
            self.discriminator = Discriminator(self.obs_dim, count, settings.diayn)

    def _build_optimizers(self, settings: RestSettings) -> None:
        """Adam as torch's defaults have it, one for each network that is trained."""
        plain = partial(Optimizer, eps=1e-8, clip=None, wd=0.0)
        self._optimizers: dict[str, Optimizer] = {}
        for k in range(self.num_skills):
            skill = self.skill(k)
            self._optimizers[f"policy_{k}"] = plain(skill.policy.parameters(), lr=settings.ppo.pi_lr)
            self._optimizers[f"critic_{k}"] = plain(skill.critic.parameters(), lr=settings.ppo.vf_lr)
            if self.densities is not None:
                predictor = self.densities.predictors[k]
                self._optimizers[f"predictor_{k}"] = plain(predictor.parameters(), lr=settings.rnd.lr)
        if self.discriminator is not None:
            classifier = self.discriminator.classifier
            self._optimizers["classifier"] = plain(classifier.parameters(), lr=settings.diayn.lr)

    def skill(self, number: int) -> Skill:
        """One of the N."""
        skill = self.skills[number]
        assert isinstance(skill, Skill)
        return skill

    # ---- acting

    @property
    def finished(self) -> bool:
        """Whether every turn was taken."""
        return self.updates >= len(self.schedule)

    @property
    def turn(self) -> Turn:
        """Whose rollout :meth:`learn` wants next."""
        return self.schedule.turn(self.updates)

    @torch.no_grad()
    def act(self, obs: Tensor, skill: int, mode: RestMode) -> tuple[Tensor, Tensor]:
        """obs float32 (n, D) -> action (n, A) and its log pi(a | s) (n,). Changes nothing, in either mode.

        Actions are not bounded.
        """
        own = self.skill(skill)
        actor = own.policy
        mean = actor(own.normalizer(obs))
        action = actor.sample(mean) if mode == "train" else mean
        return action, actor.log_prob(mean, action)

    # ---- learning

    @torch.no_grad()
    def reward(self, rollout: Rollout, turn: Turn) -> Tensor:
        """What the skill of ``turn`` is rewarded with, (n, T): of s_{t+1}, for the whole rollout at once."""
        if self.densities is not None:
            errors = self.densities.errors(rollout.next_obs, turn.active)
            return soft_minimum(errors, self.settings.rnd.alpha)
        if self.discriminator is not None:
            return self.discriminator.reward(rollout.next_obs, turn.skill)
        return rollout.reward if self.method == "task" else torch.zeros_like(rollout.reward)

    def learn(self, rollout: Rollout) -> Updated:
        """One iteration, from a rollout of the skill of :attr:`turn` in mode ``train``.

        Reward it once; train policy and critic; take the observations into the skill's normaliser; fit what rewards the
        others. A warm-up does the last two. Among the metrics: ``return_mean``, ... of the reward learned from, and
        ``task_return_mean``, ... of the environment's.
        """
        turn, rollout = self.turn, rollout.checked()
        reward = self.reward(rollout, turn)
        metrics = Episodes.of(reward, rollout.cut).summary()
        metrics |= Episodes.of(rollout.reward, rollout.cut).summary("task_")
        parts = [Updated({}, metrics)]
        if self.method != "random":
            if turn.trains:
                parts.append(self._train_policy(rollout, reward, turn.skill))
            self.skill(turn.skill).normalizer.update(rollout.obs.flatten(0, 1))
        parts.append(self._fit_reward(rollout, turn.skill))
        self.updates += 1
        return Updated.of(*parts)

    def _train_policy(self, rollout: Rollout, reward: Tensor, skill: int) -> Updated:
        """PPO on ``reward`` (n, T): first the policy, then the critic that its advantages came from."""
        own, ppo = self.skill(skill), self.settings.ppo
        normalizer, critic = own.normalizer, own.critic
        obs = normalizer(rollout.obs)
        with torch.no_grad():
            value, next_value = critic(obs), critic(normalizer(rollout.next_obs))
        found = estimates(reward, value, next_value, rollout.terminated, rollout.cut, gamma=ppo.gamma, lam=ppo.gaelam)
        obs, action = obs.flatten(0, 1), rollout.action.flatten(0, 1)
        experience = Experience(obs, action, rollout.log_prob.flatten(), found.advantage.flatten())
        improved = improve(own.policy, self._optimizers[f"policy_{skill}"], experience, ppo)
        fitted = fit_values(critic, self._optimizers[f"critic_{skill}"], obs, found.returns.flatten(), ppo)
        return Updated.of(improved, fitted)

    def _fit_reward(self, rollout: Rollout, skill: int) -> Updated:
        """Tell the others where ``skill`` went."""
        if self.densities is not None:
            visited = rollout.obs if self.settings.rnd.fit_on == "current" else rollout.next_obs
            rows = visited.flatten(0, 1)
            if self.settings.rnd.fit_on == "next_and_first":
                rows = torch.cat([rows, rollout.obs[rollout.begins]])
            return self.densities.refit(skill, rows, self._optimizers[f"predictor_{skill}"])
        if self.discriminator is not None:
            self.discriminator.remember(skill, rollout.next_obs.flatten(0, 1))
            return self.discriminator.fit(self._optimizers["classifier"])
        return Updated({}, {})

    def activation_bytes(self, rows: int) -> int:
        """Roughly what a step keeps for its gradients, of ``rows`` states."""
        own = self.skill(0)
        predictor = self.densities.predictors[0] if self.densities is not None else None
        return activation_bytes([own.policy, own.critic], predictor, rows, self.device)

    # ---- saving

    def skill_state(self, skill: int) -> dict[str, dict[str, Tensor]]:
        """State dicts of one skill by name: ``policy``, ``critic``, ``normalizer``, and with densities ``predictor``
        and ``target``. They share memory with the agent.
        """
        return {name: part.state_dict() for name, part in self._parts(skill).items()}

    def load_skill(self, skill: int, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take one skill as :meth:`skill_state` gave it. Raises :class:`UserError` for one of other sizes.

        A shared target is that of all skills: those of one run have the same.
        """
        for name, part in self._parts(skill).items():
            load_part(part, name, state.get(name, {}), SIZES)

    def _parts(self, skill: int) -> dict[str, nn.Module]:
        own = self.skill(skill)
        parts: dict[str, nn.Module] = {
            "policy": own.policy,
            "critic": own.critic,
            "normalizer": own.normalizer,
        }
        if self.densities is not None:
            parts["predictor"] = self.densities.predictors[skill]
            parts["target"] = self.densities.target(skill)
        return parts

    def training_state(self) -> dict[str, Any]:
        """Weights, moments, what the classifier remembers, optimiser states, and how many turns were taken."""
        optimizers = {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}
        return {"modules": self.state_dict(), "optimizers": optimizers, "updates": self.updates}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on, bit for bit, from what :meth:`training_state` returned to an agent of the same settings."""
        self.load_state_dict(state["modules"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.updates = state["updates"]


def schedule_of(settings: RestSettings) -> Schedule:
    """Whose turn it is in a run with ``settings``."""
    return Schedule(
        _order(settings), settings.num_skills, settings.epochs, settings.turn_iters, settings.warmup_rollouts
    )


def _order(settings: RestSettings) -> Order:
    """How ``method`` goes through the skills."""
    if settings.method == "rest":
        return settings.init
    return "together" if settings.method == "diayn" else "plain"
