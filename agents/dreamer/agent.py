"""The Dreamer agent: one world model, its behaviours, one exploration method, and the only update there is."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agents.agent import Acting, Mode, Updated
from agents.dreamer.behavior import Behavior
from agents.dreamer.planner import Planner
from agents.dreamer.skill_choice import choose_by_imagination, join_views
from agents.dreamer.world_model import Observed, WorldModel
from agents.exploration.build import build_method
from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    Scored,
    Sizes,
    everywhere,
)
from agents.nn.latent import Latent
from agents.nn.loading import load_part
from agents.nn.networks import ImageEncoder, preprocess_image
from agents.nn.optimizer import Optimizer
from agents.skills import SkillSchedule, SkillSpace
from utils.errors import UserError

CLIP_REWARDS = {"identity": lambda r: r, "sign": torch.sign, "tanh": torch.tanh}

LOADED_ALWAYS = ("encoder", "rssm", "decoder")
"""Modules fine-tuning takes from a snapshot without a flag (card table 8.1)."""

SPREAD_STATES = 64
"""States on which the dependence of the policy on the skill is measured."""

CHOICE_RECORDS = 4096
"""Replayed records, at least, on which fine-tuning chooses a skill."""


SIZES = "Use the sizes it was pre-trained with: the same preset= and the same rssm, encoder, actor keys."


class DreamerAgent(nn.Module):
    """DreamerV2 with an exploration method (see ``agents/exploration/intrinsic_reward.py``).

    ``config`` is the resolved root configuration: the sections of ``configs/dreamer.yaml`` and the ``agent`` group.
    ``phase`` is ``pretrain`` or ``finetune``; in the latter the reward head learns the task reward and every
    behaviour maximises it. Raises :class:`UserError` on configurations that cannot be built.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        obs_shape: Sequence[int],
        action_dim: int,
        *,
        phase: Literal["pretrain", "finetune"],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        agent = config["agent"]
        self.name: str = agent["name"]
        self.phase = phase
        self.action_dim = action_dim
        self.config = config
        self.device = torch.device(device)
        self.updates = 0
        self.clip_reward = CLIP_REWARDS[config["clip_rewards"]]
        self.amp = config["precision"] == "bf16" or (config["precision"] == 16 and self.device.type == "cuda")
        self.method = self._build_method(config, obs_shape).to(self.device)
        pretrains = phase == "pretrain"
        self.world_model = WorldModel(
            obs_shape,
            action_dim,
            rssm=config["rssm"],
            encoder=config["encoder"],
            decoder=config["decoder"],
            reward_head=config["reward_head"],
            kl=config["kl"],
            loss_scales=config["loss_scales"],
            grad_heads=agent["grad_heads"],
            reward_outputs=self.method.reward_outputs if pretrains else 1,
            elu_output=agent["decoder_elu_output"],
        ).to(self.device)
        self.skill_dim = self.method.skills.dim
        period = agent["update_skill_every_step"] if self.skill_dim else 0
        self.skills = SkillSchedule(self.method.skills, period).to(self.device)
        self.scores = self.method.scores if pretrains else "none"
        self.trains_behaviors = not pretrains or self.method.acts == "actor"
        self.trains_before_choice = agent.get("train_before_choice", True)
        self.collects: Mode = "train" if self.trains_behaviors else "random"
        self.planner = Planner(**config["planner"]) if config["mpc"] else None
        self.planning = False
        self.behaviors = nn.ModuleDict({"main": self._build_behavior(config, self.world_model.rssm.feat_dim)})
        self.model_opt = Optimizer(self.world_model.parameters(), **config["model_opt"])
        learned = [p for p in self.method.parameters() if p.requires_grad]
        method_opt = agent.get("method_opt", config["model_opt"])
        self.method_opt = Optimizer(learned, **method_opt) if learned and pretrains else None

    def _build_method(self, config: Mapping[str, Any], obs_shape: Sequence[int]) -> IntrinsicReward:
        encoder, rssm = config["encoder"], config["rssm"]
        sizes = Sizes(
            obs_shape=tuple(obs_shape),
            action=self.action_dim,
            embed=ImageEncoder.outputs(obs_shape, encoder["cnn_depth"], encoder["cnn_kernels"]),
            feat=rssm["stoch"] * rssm["discrete"] + rssm["deter"],
            deter=rssm["deter"],
            domain=config["domain"],
        )
        method = build_method(config["agent"], sizes)
        return method if self.phase == "pretrain" else method.finetuned()

    def _build_behavior(self, config: Mapping[str, Any], feat_dim: int) -> Behavior:
        agent = config["agent"]
        return Behavior(
            feat_dim,
            self.action_dim,
            self.skill_dim,
            actor=config["actor"],
            critic=config["critic"],
            critic_head=self.method.critic_head,
            actor_opt=config["actor_opt"],
            critic_opt=config["critic_opt"],
            reward_norm=agent["reward_norm"],
            actor_ent=agent["actor_ent"],
            actor_grad=config["actor_grad"],
            imag_horizon=config["imag_horizon"],
            discount=config["discount"],
            discount_lambda=config["discount_lambda"],
            slow_target=config["slow_target"],
            slow_target_update=config["slow_target_update"],
            slow_target_fraction=config["slow_target_fraction"],
            entropy_in_targets=agent["entropy_in_targets"],
            device=self.device,
        )

    # ---- acting

    def start(self, count: int) -> Acting:
        """Zero latents and actions and fresh skills for ``count`` environments."""
        action = torch.zeros(count, self.action_dim, device=self.device)
        age = torch.zeros(count, dtype=torch.int64, device=self.device)
        plan = torch.zeros(count, self.planner.horizon if self.planner else 0, self.action_dim, device=self.device)
        return Acting(self.world_model.rssm.initial(count), action, self.skills.draw(count), age, plan)

    def begin(self, acting: Acting, begins: Tensor) -> Acting:
        """New skills where ``begins``; the latent is reset by ``is_first``."""
        skill = torch.where(begins[:, None], self.skills.draw(len(begins)), acting.skill)
        return acting._replace(skill=skill, age=torch.where(begins, 0, acting.age))

    @torch.no_grad()
    def act(self, observation: Tensor, acting: Acting, is_first: Tensor, mode: Mode) -> tuple[Tensor, Acting]:
        """Filter the image and choose an action (see :mod:`agents.agent`).

        ``random`` actions are uniform in [-1, 1] and leave the latent alone; the posterior is sampled in ``eval``, too.
        While training data is collected, skills are renewed on schedule; in ``eval`` they are held.
        """
        if mode in ("train", "random"):
            skill, age = self.skills.renew(acting.skill, acting.age)
            acting = acting._replace(skill=skill, age=age + 1)
        if mode == "random":
            action = 2 * torch.rand_like(acting.action) - 1
            return action, acting._replace(action=action)
        embed = self.world_model.encoder(preprocess_image(observation))
        assert isinstance(acting.memory, Latent)
        latent = self.world_model.rssm.observe_step(acting.memory, acting.action, embed, is_first)
        plan = acting.plan
        if self.planner and self.planning:
            action, plan, _ = self.planner.plan(
                self.world_model, self._behavior, latent, acting.skill, plan, is_first, explore=mode == "train"
            )
        else:
            policy = self._behavior.actor(latent.feat, acting.skill)
            action = policy.rsample() if mode == "train" else policy.mean
        return action, acting._replace(memory=latent, action=action, plan=plan)

    @property
    def recorded(self) -> SkillSpace:
        """See :class:`agents.agent.Acts`: every action is recorded with its skill."""
        return self.skills.space

    @property
    def shown(self) -> SkillSpace:
        """See :class:`agents.agent.Acts`: the skills that stand for all."""
        return self.skills.space

    @property
    def _choosing(self) -> bool:
        """Fine-tuning has yet to choose the skill it keeps."""
        return bool(self.phase == "finetune" and self.skill_dim and not self.skills.settled)

    def adapt(self, frame: int, sample: Callable[[], Mapping[str, Tensor]]) -> str | None:
        """Fine-tuning chooses one skill at ``agent.num_init_frames`` and keeps it; then planning begins, if asked for
        (see :mod:`agents.agent`).
        """
        if self._choosing and frame >= self.config["agent"]["num_init_frames"]:
            return f"skill chosen at frame {frame}: {self.skills.space.name(self._choose_skill(sample))}"
        if self.planner and not self.planning and not self._choosing:
            self.planning = frame >= self.config["num_seed_frames"] + self.planner.start_after
            return f"planning from frame {frame} on" if self.planning else None
        return None

    @torch.no_grad()
    def _choose_skill(self, sample: Callable[[], Mapping[str, Tensor]]) -> Tensor:
        views: list[ReplayView] = []
        rewards: list[Tensor] = []
        while sum(reward.numel() for reward in rewards) < CHOICE_RECORDS:
            batch = sample()
            seen = self.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
            views.append(self._view(seen, batch))
            rewards.append(self.clip_reward(batch["reward"]))
        view, reward = join_views(views), torch.cat(rewards)
        if self.config["agent"]["skill_choice"] == "imagination":
            skill = choose_by_imagination(self.world_model, self._behavior, self.skills.space, view)
        else:
            skill = self.method.choose_skill(view, reward, self._behavior.actor)
        self.skills.settle(skill)
        return skill

    # ---- learning

    def update(self, batch: Mapping[str, Tensor]) -> Updated:
        """One step of everything, in the order of ``agents/exploration/intrinsic_reward.py``.

        ``batch``: observation uint8 (B, T, C, S, S), action (B, T, A), reward (B, T), is_first bool (B, T), and
        skill (B, T, n), skill_valid bool (B, T) for skill agents.
        """
        updated = self.learn(batch, self.trains_behaviors and (self.trains_before_choice or not self._choosing))
        self._behavior.after_update(self.updates)
        self.method.after_update(self.updates)
        self.updates += 1
        return updated

    def learn(self, batch: Mapping[str, Tensor], behaves: bool) -> Updated:
        """All of :meth:`update` that the device does; of actor and critic only if ``behaves``."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            seen = self.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
            view = self._view(seen, batch)
            parts = [self._train_method(view)]
            target = self._reward_target(view, batch["reward"])
            loss, found = self.world_model.loss(seen, target)
            norm = self.model_opt.step(loss)
            parts += [found, Updated({"model_grad_norm": norm}, dict(target.metrics))]
            if behaves:
                start = seen.post.detach().flatten()
                skill = self.skills.draw(start.deter.shape[0])
                parts.append(
                    self._behavior.update(
                        self.world_model.rssm, start, skill, self._score, self.world_model.reward_head, self.method
                    )
                )
                if self.skill_dim:
                    parts.append(Updated({}, {"skill_spread": self._skill_spread(start.feat)}))
        return Updated.of(*parts)

    def graph_key(self, mode: Mode | None) -> Hashable:
        """See :mod:`agents.agent`. The planner's evaluation sets the random state, which no graph can."""
        return None if self.planning and mode in ("eval", "show") else (self.skills.settled, self.planning)

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """See :mod:`agents.agent`: steps of the recurrent model, heads, encoder, losses of the world model."""
        model, behavior = self.world_model, self._behavior
        steps: list[tuple[nn.Module, str]] = [(model.rssm, "filter_step"), (model.rssm, "imagine_step")]
        heads = (behavior.actor, behavior.critic, behavior.slow_critic, model.reward_head)
        return [*steps, *((head, "forward") for head in heads), (model.encoder, "forward"), (model, "loss")]

    @torch.no_grad()
    def _skill_spread(self, feat: Tensor) -> Tensor:
        """How much the policy depends on the skill: standard deviation of its mean action over the skills.

        Averaged over actions and at most ``SPREAD_STATES`` of the features (N, F).
        """
        skills = self.skills.space.candidates(self.device)
        pairs = feat[:SPREAD_STATES, None].expand(-1, len(skills), -1)
        policy = self._behavior.actor(pairs, skills.expand(*pairs.shape[:2], -1))
        return policy.mean.std(1).mean()

    @property
    def _behavior(self) -> Behavior:
        return self.behaviors["main"]  # type: ignore[return-value]

    def _view(self, seen: Observed, batch: Mapping[str, Tensor]) -> ReplayView:
        lead = batch["is_first"].shape
        skill = batch.get("skill", seen.embed.new_zeros(*lead, 0))
        valid = batch.get("skill_valid", torch.ones_like(batch["is_first"]))
        return ReplayView(
            obs=batch["observation"],
            embed=seen.embed.detach(),
            action=batch["action"],
            skill=skill,
            skill_valid=valid,
            is_first=batch["is_first"],
            post=seen.post.detach(),
            feat=seen.feat.detach(),
            kl=seen.kl,
        )

    def _train_method(self, view: ReplayView) -> Updated:
        if self.method_opt is None:
            return Updated({}, {})
        trained = self.method.loss(view)
        assert trained is not None, f"{type(self.method).__name__} has parameters but no loss"
        loss, metrics = trained
        name = self.method.metric_name
        return Updated({f"{name}_loss": loss.detach(), f"{name}_grad_norm": self.method_opt.step(loss)}, metrics)

    def _reward_target(self, view: ReplayView, task_reward: Tensor) -> Scored:
        if self.scores == "replay":
            with torch.no_grad():
                return self.method.score_replay(view)
        return everywhere(self.clip_reward(task_reward))

    def _score(self, traj: Imagined) -> Scored:
        if self.scores == "imagination":
            return self.method.score_imagined(traj)
        return everywhere(self.world_model.reward(traj.feat, traj.skill))

    def report(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``openl_observation``: open-loop predictions of the first 8 rows (card 3.7)."""
        observation, action, is_first = (batch[key][:8] for key in ("observation", "action", "is_first"))
        return {"openl_observation": self.world_model.open_loop(observation, action, is_first)}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """The encoder's embedding of the last image (see :mod:`agents.agent`)."""
        return self.world_model.encoder(preprocess_image(images[-1:].to(self.device)))[0]

    def skill_log_probs(self, images: Tensor) -> None:
        """There is none: methods read the features of latent states (see :mod:`agents.agent`)."""

    # ---- saving

    def snapshot_modules(self) -> dict[str, dict[str, Tensor]]:
        """State dicts of the world model's parts (``encoder``, ``rssm``, ``decoder``, ``reward_head``), of ``actor``,
        ``critic`` and ``slow_critic``, of ``method``, and what of the latter fine-tuning restores.
        """
        finetune = {"method_finetune": self.method.finetune_state()}
        return {name: part.state_dict() for name, part in self._parts().items()} | finetune

    def _parts(self) -> dict[str, nn.Module]:
        """The modules of a snapshot by name."""
        parts: dict[str, nn.Module] = {
            "encoder": self.world_model.encoder,
            "rssm": self.world_model.rssm,
            "decoder": self.world_model.decoder,
            "reward_head": self.world_model.reward_head,
            "actor": self._behavior.actor,
            "critic": self._behavior.critic,
            "slow_critic": self._behavior.slow_critic,
            "method": self.method,
        }
        if self.skill_dim:
            parts["skills"] = self.skills
        return parts

    def load_snapshot(
        self, modules: Mapping[str, Mapping[str, Tensor]], *, init_actor: bool, init_critic: bool
    ) -> None:
        """Copy encoder, RSSM and decoder, the actor if ``init_actor``, the critics if ``init_critic``.

        Everything else stays fresh (card table 8.1). Raises :class:`UserError` for a snapshot of other sizes.
        """
        wanted: dict[str, nn.Module] = {name: getattr(self.world_model, name) for name in LOADED_ALWAYS}
        if init_actor:
            wanted["actor"] = self._behavior.actor
        if init_critic:
            wanted |= {"critic": self._behavior.critic, "slow_critic": self._behavior.slow_critic}
        for name, module in wanted.items():
            load_part(module, name, modules.get(name, {}), SIZES)
        kept, found = self.method.finetune_state(), modules.get("method_finetune", {})
        if missing := sorted(kept.keys() - found.keys()):
            raise UserError(
                f"the snapshot lacks {missing[0]}, which agent={self.name} needs in fine-tuning. It was made with "
                "another setting of this agent; pre-train again, or fine-tune with the setting it was made with."
            )
        restored = self.method.state_dict() | {key: found[key] for key in kept}
        load_part(self.method, "method", restored, SIZES)

    def load_weights(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take everything a snapshot of the same phase holds: the agent then acts and plans as the one that was saved.

        Raises :class:`UserError` for a snapshot of other sizes.
        """
        for name, module in self._parts().items():
            load_part(module, name, modules.get(name, {}), SIZES)

    def training_state(self) -> dict[str, Any]:
        """Weights, buffers, optimiser states, the update counter and whether planning has begun."""
        optimizers = {name: opt.state_dict() for name, opt in self._optimizers().items()}
        counters = {"updates": self.updates, "planning": self.planning}
        return {"modules": self.state_dict(), "optimizers": optimizers, **counters}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.load_state_dict(state["modules"])
        for name, opt in self._optimizers().items():
            opt.load_state_dict(state["optimizers"][name])
        self.updates, self.planning = state["updates"], state["planning"]

    def _optimizers(self) -> dict[str, Optimizer]:
        found = {
            "model": self.model_opt,
            "actor": self._behavior.actor_opt,
            "critic": self._behavior.critic_opt,
        }
        return found | ({"method": self.method_opt} if self.method_opt else {})
