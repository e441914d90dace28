"""DrQ (Kostrikov et al. 2021), alone or with a method of unsupervised reinforcement learning."""

import math
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Acting, Memory, Mode, Phase, Updated
from agents.drq.augmentations import SHIFTS, Augmentation
from agents.drq.discriminator import Discriminator
from agents.drq.footprint import activation_bytes
from agents.drq.networks import Actor, Convs, Encoder, SkillTable, TwinCritic
from agents.drq.settings import DrQSettings
from agents.drq.stacks import Frames, stacks_at
from agents.drq.step_method import build_method
from agents.nn.loading import load_part
from agents.nn.optimizer import Optimizer, frozen
from agents.nn.skill_classifier import SkillClassifier
from agents.skills import NoSkills, OneHot, SkillSchedule, SkillSpace

CHUNK = 64
"""Stacks of frames judged at once."""

SIZES = (
    "Use the settings it was trained with: render_size, framestack, method, num_skills, skill_critic, "
    "discriminator_features and the network sizes."
)


class DrQAgent(nn.Module):
    """Soft actor-critic on randomly shifted images (Kostrikov et al. 2021), rewarded by a ``method`` besides the task.

    The keys of ``settings`` are those of the published program and lie at the root. With ``method`` = diayn and
    ``num_skills`` = 0 this is DrQ. The reward is r = c_e r_env + c_i r_int with c_e ``extrinsic_coeff`` and c_i
    ``diayn_intrinsic_reward_coeff``, in either ``phase``. What the published program, which has DIAYN alone, does
    otherwise is behind flags, all of which ``reference`` sets in the configuration:

    - ``skill_critic=false``: only the actor knows the skill, the critic averages over all of them
    - ``discriminator_features=critic``: the discriminator reads the critic's features, gradient stopped
    - ``reward_state=current``: the discriminator is asked about s_t, not about s_{t+1}

    Raises :class:`UserError` for images that are too small and for weights that do not fit.
    """

    collects: Mode = "train"

    @classmethod
    def schema(cls, agent: Mapping[str, Any]) -> type[DrQSettings]:
        """See :mod:`agents.agent`."""
        return DrQSettings

    def __init__(
        self,
        settings: DrQSettings,
        obs_shape: Sequence[int],
        action_dim: int,
        *,
        phase: Phase,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.phase = phase
        self.name = settings.agent.name
        self.action_dim, self.obs_shape = action_dim, tuple(obs_shape)
        self.device = torch.device(device)
        self.updates = 0
        self.stack = settings.framestack
        self.skill_dim = settings.num_skills
        self.method = build_method(settings, self._image, action_dim)
        """What rewards besides the task; None with DIAYN, which has :attr:`discriminator` where there are skills."""
        space: SkillSpace = OneHot(self.skill_dim) if self.skill_dim else NoSkills()
        self.skills = SkillSchedule(space if self.method is None else self.method.rewards.skills, period=0)
        unset = 0.0 if self.skill_dim or self.method is not None else 1.0
        self.extrinsic = unset if settings.extrinsic_coeff is None else settings.extrinsic_coeff
        self.intrinsic = settings.diayn_intrinsic_reward_coeff
        self.target_entropy = -float(action_dim)
        self.discount = settings.discount
        self.augment = Augmentation(settings.augmentation, self.stack, settings.image_pad)
        self.tau = settings.critic_tau
        self.actor_every = settings.actor_update_frequency
        self.target_every = settings.critic_target_update_frequency
        self.judges_next = settings.reward_state == "next"
        """Whether the intrinsic reward of a transition is that of the state it leads to."""
        self._build_networks(settings)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(settings.init_temperature)))
        self.to(self.device)
        self._build_optimizers(settings)

    @property
    def _image(self) -> tuple[int, ...]:
        """Shape of a stack of frames as networks see it."""
        channels, *size = self.obs_shape
        return channels * self.stack, *size

    def _build_networks(self, settings: DrQSettings) -> None:
        image = self._image
        features = settings.encoder_feature_dim

        def table(used: bool = True) -> SkillTable:
            return SkillTable(self.skill_dim if used else 0, settings.skill_embedding_dim)

        convs = Convs(image, settings.encoder_channels)
        self.critic = TwinCritic(
            Encoder(convs, features),
            table(settings.skill_critic),
            self.action_dim,
            layers=settings.critic_hidden_depth,
            units=settings.critic_hidden_dim,
        )
        self.critic_target = deepcopy(self.critic).requires_grad_(False)
        self.actor = Actor(
            Encoder(convs, features),
            table(),
            self.action_dim,
            layers=settings.actor_hidden_depth,
            units=settings.actor_hidden_dim,
            log_std_min=settings.actor_log_std_min,
            log_std_max=settings.actor_log_std_max,
        )
        self.discriminator: Discriminator | None = None
        if self.skill_dim and self.method is None:
            own = settings.discriminator_features == "own"
            depth, hidden = settings.discriminator_hidden_depth, settings.discriminator_hidden_dim
            self.discriminator = Discriminator(
                Encoder(Convs(image, settings.encoder_channels), features) if own else None,
                SkillClassifier(features, self.skill_dim, hidden, depth),
            )

    def _build_optimizers(self, settings: DrQSettings) -> None:
        """Adam as torch's defaults have it, for each network and for alpha."""
        plain = partial(Optimizer, eps=1e-8, wd=0.0)
        lr, clip = settings.lr, settings.grad_clip
        self._optimizers = {
            "actor": plain(self.actor.own_parameters(), lr=lr, clip=clip),
            "critic": plain(self.critic.parameters(), lr=lr, clip=clip),
            "alpha": plain([self.log_alpha], lr=lr, clip=None),
        }
        own_lr = settings.lr_discriminator or lr
        if self.discriminator is not None:
            self._optimizers["discriminator"] = plain(self.discriminator.parameters(), lr=own_lr, clip=clip)
        if self.method is not None and any(p.requires_grad for p in self.method.parameters()):
            # not clipped: METRA's dual variable is to learn whatever the norm of the rest is
            self._optimizers["method"] = plain(self.method.parameters(), lr=own_lr, clip=None)

    @property
    def recorded(self) -> SkillSpace:
        """See :class:`agents.agent.Acts`: every action is recorded with its skill, and all skills are shown."""
        return self.skills.space

    shown = recorded

    @property
    def tries_skills(self) -> bool:
        """See :class:`agents.agent.Acts`: none is ever chosen."""
        return self.skills.space.dim > 0

    # ---- acting

    def start(self, count: int) -> Acting:
        """Black frames, zero actions and fresh skills for ``count`` environments."""
        frames = torch.zeros(count, self.stack, *self.obs_shape, dtype=torch.uint8, device=self.device)
        action = torch.zeros(count, self.action_dim, device=self.device)
        age = torch.zeros(count, dtype=torch.int64, device=self.device)
        plan = torch.zeros(count, 0, self.action_dim, device=self.device)
        return Acting(Frames(frames), action, self.skills.draw(count), age, plan)

    def begin(self, acting: Acting, begins: Tensor) -> Acting:
        """New skills where ``begins``, for the whole episode; the frames are reset by ``is_first``."""
        skill = torch.where(begins[:, None], self.skills.draw(len(begins)), acting.skill)
        return acting._replace(skill=skill, age=torch.where(begins, 0, acting.age))

    @torch.no_grad()
    def act(self, observation: Tensor, acting: Acting, is_first: Tensor, mode: Mode) -> tuple[Tensor, Acting]:
        """Take in the image and choose an action (see :mod:`agents.agent`).

        An episode's first image fills the whole stack. ``random`` actions are uniform in [-1, 1]; the frames are kept
        then as well, since the policy may take over in mid-episode.
        """
        (frames,) = acting.memory
        moved = torch.cat([frames[:, 1:], observation[:, None]], 1)
        frames = torch.where(is_first[:, None, None, None, None], observation[:, None], moved)
        if mode == "random":
            action = 2 * torch.rand_like(acting.action) - 1
        else:
            policy = self.actor(self.critic.encoder.convs(frames.flatten(1, 2)), acting.skill)
            action = policy.rsample()[0] if mode in ("train", "sample") else policy.mode
        age = acting.age + 1 if mode in ("train", "random") else acting.age
        return action, acting._replace(memory=Frames(frames), action=action, age=age)

    def adapt(self, frame: int, memory: Memory) -> str | None:
        """Nothing is chosen for good."""
        return None

    # ---- learning

    def update(self, batch: Mapping[str, Tensor]) -> Updated:
        """One step of the method and the critic; of actor, alpha and target when they are due, from update 0.

        ``batch``, transitions t -> t + 1: observation uint8 (B, stack + 1, C, S, S), frames t - stack + 1 .. t + 1;
        of the record t + 1 action (B, A), reward (B,), is_terminal bool (B,), and for skills skill (B, n),
        skill_valid bool (B,). The metrics of actor and alpha are there only when they were trained.

        The intrinsic reward is that of the discriminator before its step, as published, and of other methods after it.
        """
        updated = self.learn(batch, *(self.updates % period == 0 for period in (self.actor_every, self.target_every)))
        self.updates += 1
        return updated

    def learn(self, batch: Mapping[str, Tensor], acts: bool, moves_target: bool) -> Updated:
        """All of :meth:`update` that the device does; actor and alpha only if ``acts``, the target if it moves."""
        observation, action = batch["observation"], batch["action"]
        skill = batch["skill"] if self.skill_dim else action.new_zeros(len(action), 0)
        now = self.augment.copies(observation[:, : self.stack])
        then = self.augment.copies(observation[:, 1:])
        parts = [Updated({}, {"batch_reward": batch["reward"].mean()})]
        reward = self.extrinsic * batch["reward"]
        if (rewarded := self._train_method(batch, skill, now, then)) is not None:
            bonus, found = rewarded
            parts.append(found)
            reward = reward + self.intrinsic * bonus
        parts.append(Updated({}, {"critic_total_reward": reward.mean()}))
        target = self._target(then, skill, reward, batch["is_terminal"])
        parts.append(self._train_critic(now, skill, action, target))
        if acts:
            parts.append(self._train_actor(now[0], skill))
        if moves_target:
            self._move_target()
        return Updated.of(*parts)

    def graph_key(self, mode: Mode | None) -> Hashable:
        """See :mod:`agents.agent`: arguments decide everything. What kornia draws on the host is in no graph."""
        return None if mode is None and self.augment.on_host else ()

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """See :mod:`agents.agent`: convolutions, critics, discriminator."""
        convs: list[nn.Module] = [self.critic.encoder.convs, self.critic_target.encoder.convs]
        heads: list[nn.Module] = [self.critic, self.critic_target]
        if self.discriminator is not None:
            heads.append(self.discriminator.classifier.net)
            if self.discriminator.encoder is not None:
                convs.append(self.discriminator.encoder.convs)
        if self.method is not None and self.method.encoder is not None:
            convs.append(self.method.encoder.convs)
        return [(module, "forward") for module in (*convs, *heads)]

    def _train_method(
        self, batch: Mapping[str, Tensor], skill: Tensor, now: Tensor, then: Tensor
    ) -> tuple[Tensor, Updated] | None:
        """r_int (B,) and a step of what gives it; None where nothing does. ``now``, ``then``: the shifted states."""
        encoder = self.critic.encoder
        if self.discriminator is not None:
            judged, optimizer = then if self.judges_next else now, self._optimizers["discriminator"]
            return self.discriminator.learn(judged, skill, batch["skill_valid"], encoder, optimizer)
        if self.method is not None:
            return self.method.learn(batch, skill, encoder, self._optimizers.get("method"))
        return None

    @torch.no_grad()
    def _target(self, image: Tensor, skill: Tensor, reward: Tensor, is_terminal: Tensor) -> Tensor:
        """y = r + discount m mean_k [min_j Q'_j(s'_k, a'_k) - alpha log pi(a'_k | s'_k)], (B,) (DrQ, equation 2).

        ``image`` (SHIFTS, B, ...) are the shifted next states. m = 1 - is_terminal: a time limit is no terminal state.
        """
        action, log_prob = self.actor(self.critic.encoder.convs(image), skill).rsample()
        target = self.critic_target
        value = target(target.encoder.convs(image), skill, action).amin(0) - self.log_alpha.exp() * log_prob
        return reward + self.discount * torch.where(is_terminal, 0.0, value.mean(0))

    def _train_critic(self, image: Tensor, skill: Tensor, action: Tensor, target: Tensor) -> Updated:
        """L_Q = sum_m sum_j mean over the batch of (Q_j(s_m, a) - y)^2 (DrQ, equation 3; its sum, not its mean)."""
        value = self.critic(self.critic.encoder.convs(image), skill, action)  # (2, SHIFTS, B)
        loss = (value - target).square().mean(-1).sum()
        norm = self._optimizers["critic"].step(loss)
        return Updated({"critic_loss": loss.detach(), "critic_grad_norm": norm}, {})

    def _train_actor(self, image: Tensor, skill: Tensor) -> Updated:
        """L_pi = mean of alpha log pi(a | s) - min_j Q_j(s, a) on one shifted copy (B, ...) of the states, then
        L_alpha = mean of alpha (-log pi(a | s) - H), H = -A (Haarnoja et al. 2018, equations 7 and 18).
        """
        with torch.no_grad():
            maps = self.critic.encoder.convs(image)
        alpha = self.log_alpha.exp()
        action, log_prob = self.actor(maps, skill).rsample()
        with frozen(self.critic):
            value = self.critic(maps, skill, action).amin(0)
        loss = (alpha.detach() * log_prob - value).mean()
        norm = self._optimizers["actor"].step(loss)
        entropy = -log_prob.detach()
        alpha_loss = (alpha * (entropy - self.target_entropy)).mean()
        self._optimizers["alpha"].step(alpha_loss)
        losses = {"actor_loss": loss.detach(), "actor_grad_norm": norm, "alpha_loss": alpha_loss.detach()}
        metrics = {
            "actor_entropy": entropy.mean(),
            "actor_target_entropy": torch.full_like(norm, self.target_entropy),
            "alpha_value": alpha.detach(),
        }
        return Updated(losses, metrics)

    @torch.no_grad()
    def _move_target(self) -> None:
        """target <- tau online + (1 - tau) target, the whole critic with its encoder."""
        for slow, fast in zip(self.critic_target.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.tau)

    # ---- looking at what was learned

    def skill_images(self) -> None:
        """There are none (see :mod:`agents.agent`)."""

    def skill_to(self, observation: Tensor) -> None:
        """Nobody says (see :mod:`agents.agent`)."""

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """The critic's features of the last unshifted stack, in [-1, 1] (see :mod:`agents.agent`)."""
        stack = stacks_at(images, torch.tensor([len(images) - 1]), self.stack)
        return self.critic.encoder(stack.to(self.device).flatten(1, 2))[0]

    @torch.no_grad()
    def skill_log_probs(self, images: Tensor) -> Tensor | None:
        """log q(. | s) of an episode's unshifted stacks, of the states that ``reward_state`` names."""
        if self.discriminator is None:
            return None
        judged = torch.arange(len(images) - 1) + int(self.judges_next)
        found = []
        for last in judged.split(CHUNK):
            stacks = stacks_at(images, last, self.stack).to(self.device).flatten(1, 2)
            features = self.discriminator.features(stacks, self.critic.encoder)
            found.append(self.discriminator.classifier.log_probs(features))
        return torch.cat(found)

    def report(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """There is no model whose predictions could be shown."""
        return {}

    def activation_bytes(self, batch_size: int, length: int) -> int:
        """See :class:`agents.agent.Learns`."""
        channels, side, _ = self.obs_shape
        return activation_bytes(self, batch_size * length, SHIFTS, channels * self.stack, side)

    # ---- saving

    def snapshot_modules(self) -> dict[str, dict[str, Tensor]]:
        """State dicts of ``actor`` (with the convolutions it shares), ``critic``, ``critic_target``, ``temperature``,
        and with skills of ``skills``, with DIAYN's of ``discriminator`` and with other methods of ``method``.
        """
        modules = {name: part.state_dict() for name, part in self._parts().items()}
        return modules | {"temperature": {"log_alpha": self.log_alpha.detach()}}

    def _parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic, "critic_target": self.critic_target}
        if self.discriminator is not None:
            parts["discriminator"] = self.discriminator
        if self.method is not None:
            parts["method"] = self.method
        return parts | ({"skills": self.skills} if self.skill_dim else {})

    def load_snapshot(
        self, modules: Mapping[str, Mapping[str, Tensor]], *, init_actor: bool, init_critic: bool
    ) -> None:
        """Copy the convolutions; the rest of the actor if ``init_actor``, of critic and target if ``init_critic``.

        Everything else stays fresh. Raises :class:`UserError` for a snapshot of other sizes.
        """
        prefix = "encoder.convs."
        saved = modules.get("critic", {})
        convs = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
        for critic in (self.critic, self.critic_target):
            load_part(critic.encoder.convs, "encoder", convs, SIZES)
        wanted = ["actor"] * init_actor + ["critic", "critic_target"] * init_critic
        for name in wanted:
            load_part(self._parts()[name], name, modules.get(name, {}), SIZES)

    def load_weights(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take everything a snapshot holds: the agent then acts and rewards as the one that was saved.

        Raises :class:`UserError` for a snapshot of other sizes.
        """
        for name, part in self._parts().items():
            load_part(part, name, modules.get(name, {}), SIZES)
        with torch.no_grad():
            self.log_alpha.copy_(modules["temperature"]["log_alpha"])

    def training_state(self) -> dict[str, Any]:
        """Weights, optimiser states and the update counter."""
        optimizers = {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}
        return {"modules": self.state_dict(), "optimizers": optimizers, "updates": self.updates}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_state_dict(state["modules"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.updates = state["updates"]
