"""The Dreamer agent: one world model, its drives, one pilot, and the only update there is."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import FOLLOWS, Acting, Memory, Mode, Phase, Updated
from agents.dreamer.actor_critic import Actor
from agents.dreamer.drive import MAIN, Drive
from agents.dreamer.footprint import activation_bytes
from agents.dreamer.planner import Planner
from agents.dreamer.retain import Due
from agents.dreamer.settings import DreamerSettings, settings_with
from agents.dreamer.setup import factory_named, section_of, set_up
from agents.dreamer.world_model import Observed, WorldModel
from agents.exploration.build import method_class
from agents.exploration.intrinsic_reward import ReplayView, Sizes
from agents.latch import Latch
from agents.nn.latent import Latent
from agents.nn.loading import load_part, renamed
from agents.nn.observations import embed_dim, is_image
from agents.nn.optimizer import Optimizer
from agents.skills import SkillSchedule, SkillSpace
from utils.errors import UserError
from utils.rules import is_text, shown
from utils.settings import SettingError

CLIP_REWARDS = {"identity": lambda r: r, "sign": torch.sign, "tanh": torch.tanh}

LOADED_ALWAYS = ("state_norm", "encoder", "rssm", "decoder")
"""Modules fine-tuning takes from a snapshot without a flag; the first is there if ``state_norm`` asks for it."""

SIZES = "Use the sizes it was pre-trained with: the same preset= and the same rssm, encoder, actor keys."

STORED_AS = {
    f"drives.{MAIN}.behavior.": f"behaviors.{MAIN}.",
    f"drives.{MAIN}.method.": "method.",
    f"drives.{MAIN}.skills.": "skills.",
}
"""Prefixes of the main drive's tensors, and those under which checkpoints have held them since before there were
drives."""


class DreamerAgent(nn.Module):
    """DreamerV2 (Hafner et al. 2021) with exploration methods (see ``agents/exploration/intrinsic_reward.py``).

    ``settings`` are those of :meth:`schema`: the sections of ``configs/dreamer.yaml`` and the ``agent`` group.
    ``phase`` is ``pretrain``, ``offline`` or ``finetune``; in the last the reward head learns the task reward and the
    main drive's behaviour maximises it. Which drives there are and who acts, ``agents/dreamer/setup.py`` says.
    Raises :class:`UserError` on configurations that cannot be built.
    """

    @classmethod
    def schema(cls, agent: Mapping[str, Any]) -> type[DreamerSettings]:
        """See :mod:`agents.agent`: with the keys of the method and of the drives that ``agent`` names."""
        method: Any = agent.get("method")
        if not is_text(method):
            raise SettingError(f"`agent.method`={shown(method)} is not allowed: it must be a text.")
        drives: Any = agent.get("drives")
        if drives is not None and not is_text(drives):
            raise SettingError(f"`agent.drives`={shown(drives)} is not allowed: it must be a text.")
        return settings_with(method_class(method), section_of(factory_named(drives)))  # type: ignore[arg-type]

    def __init__(
        self,
        settings: DreamerSettings,
        obs_shape: Sequence[int],
        action_dim: int,
        *,
        phase: Phase,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        agent, encoder, rssm = settings.agent, settings.encoder, settings.rssm
        self.settings, self.name = settings, agent.name
        self.phase, self.action_dim, self.obs_shape = phase, action_dim, tuple(obs_shape)
        self.device = torch.device(device)
        self.updates = 0
        self.clip_reward = CLIP_REWARDS[settings.clip_rewards]
        self.amp = settings.precision == "bf16" or (settings.precision == 16 and self.device.type == "cuda")
        sizes = Sizes(
            obs_shape=self.obs_shape,
            action=action_dim,
            embed=embed_dim(obs_shape, encoder.plain()),
            feat=rssm.stoch * rssm.discrete + rssm.deter,
            deter=rssm.deter,
            domain=settings.domain,
        )
        drives, self.pilot = set_up(settings, sizes, phase, self.device)
        self.world_model = WorldModel(
            obs_shape,
            action_dim,
            rssm=rssm.plain(),
            encoder=encoder.plain(),
            decoder=settings.decoder.plain(),
            reward_head=settings.reward_head.plain(),
            kl=settings.kl.plain(),
            loss_scales=settings.loss_scales.plain(),
            grad_heads=agent.grad_heads,
            reward_outputs=drives[0].reward_outputs,
            elu_output=agent.decoder_elu_output,
            state_norm=settings.state_norm == "running",
        ).to(self.device)
        for drive in drives:
            drive.build(self.world_model.rssm.feat_dim)
        self.drives: Mapping[str, Drive] = nn.ModuleDict({drive.name: drive for drive in drives})  # type: ignore[assignment]
        self.model_opt = Optimizer(self.world_model.parameters(), **settings.model_opt.plain())
        self.planner = Planner(**settings.planner.plain()) if settings.mpc else None
        self.planning = False
        self.seed_frames = settings.num_seed_frames
        self._facts = [part for part in self.modules() if isinstance(part, Latch | SkillSchedule)]

    @property
    def main(self) -> Drive:
        """The drive whose target the reward head learns: the first."""
        return next(iter(self.drives.values()))

    # ---- acting

    @property
    def collects(self) -> Mode:
        """See :class:`agents.agent.Acts`."""
        return self.pilot.collects

    @property
    def skills(self) -> SkillSchedule:
        """The skills that act in training, and when they are renewed."""
        return self.pilot.skills

    @property
    def skill_dim(self) -> int:
        """Their size; 0 without."""
        return self.skills.space.dim

    @property
    def recorded(self) -> SkillSpace:
        """See :class:`agents.agent.Acts`."""
        return self.pilot.recorded

    @property
    def shown(self) -> SkillSpace:
        """See :class:`agents.agent.Acts`."""
        return self.pilot.shown

    @property
    def tries_skills(self) -> bool:
        """See :class:`agents.agent.Acts`."""
        return self.pilot.tries_skills

    def start(self, count: int) -> Acting:
        """Zero latents and actions and fresh skills for ``count`` environments."""
        action = torch.zeros(count, self.action_dim, device=self.device)
        age = torch.zeros(count, dtype=torch.int64, device=self.device)
        plan = torch.zeros(count, self.planner.horizon if self.planner else 0, self.action_dim, device=self.device)
        return Acting(self.world_model.rssm.initial(count), action, self.skills.draw(count), age, plan)

    def begin(self, acting: Acting, begins: Tensor) -> Acting:
        """New skills where ``begins``; the latent is reset by ``is_first``."""
        skill = self.skills.replace(acting.skill, begins)
        return acting._replace(skill=skill, age=torch.where(begins, 0, acting.age))

    @torch.no_grad()
    def act(self, observation: Tensor, acting: Acting, is_first: Tensor, mode: Mode) -> tuple[Tensor, Acting]:
        """Filter the observation and choose an action (see :mod:`agents.agent`).

        ``random`` actions are uniform in [-1, 1] and leave the latent alone; the posterior is sampled in ``eval``, too.
        While training data is collected, skills are renewed on schedule; in ``eval`` they are held.
        """
        if mode in ("train", "random"):
            skill, age = self.skills.renew(acting.skill, acting.age)
            acting = acting._replace(skill=skill, age=age + 1)
        if mode == "random":
            action = 2 * torch.rand_like(acting.action) - 1
            return action, acting._replace(action=action)
        embed = self.world_model.encode(observation)
        assert isinstance(acting.memory, Latent)
        latent = self.world_model.rssm.observe_step(acting.memory, acting.action, embed, is_first)
        skill = acting.skill if mode in FOLLOWS else self.pilot.select(latent, acting.skill, mode)
        plan = acting.plan
        if self.planner and self.planning and self.pilot.plans(mode):
            behavior = self.pilot.behavior(mode)
            action, plan, _ = self.planner.plan(
                self.world_model, behavior, latent, skill, plan, is_first, explore=mode == "train"
            )
        else:
            policy = self.pilot.policy(latent, skill, mode)
            action = policy.rsample() if mode in ("train", "sample") else policy.mean
        return action, acting._replace(memory=latent, action=action, skill=skill, plan=plan)

    def adapt(self, frame: int, memory: Memory) -> str | None:
        """The pilot and the drives decide what there is to decide; then planning begins, if asked for (see
        :class:`agents.agent.Learns`).
        """
        notes = [self.pilot.adapt(frame, memory, lambda: self._look(memory.sample()), self.world_model)]
        notes += [drive.adapt(frame, memory) for drive in self.drives.values()]
        if said := [note for note in notes if note]:
            return "; ".join(said)
        if self.planner and not self.planning and not self.pilot.undecided:
            self.planning = frame >= self.seed_frames + self.planner.start_after
            return f"planning from frame {frame} on" if self.planning else None
        return None

    @torch.no_grad()
    def _look(self, batch: Mapping[str, Tensor]) -> tuple[ReplayView, Tensor]:
        seen = self.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
        return self._view(seen, batch), self.clip_reward(batch["reward"])

    # ---- learning

    def update(self, batch: Mapping[str, Tensor]) -> Updated:
        """One step of everything, in the order of ``agents/exploration/intrinsic_reward.py``.

        ``batch``: observation uint8 (B, T, C, S, S) or float32 (B, T, D), action (B, T, A), reward (B, T), is_first
        bool (B, T), and skill (B, T, n), skill_valid bool (B, T) for skill agents.
        """
        undecided = self.pilot.undecided
        due = tuple(drive.prepare(self.updates, undecided) for drive in self.drives.values())
        updated, views = self.learn(batch, due)
        for drive in self.drives.values():
            drive.after_update(self.updates, views[0] if views and drive.method.reads_view else None)
        self.updates += 1
        return updated

    def learn(self, batch: Mapping[str, Tensor], due: tuple[Due, ...]) -> tuple[Updated, tuple[ReplayView, ...]]:
        """All of :meth:`update` that the device does; a drive's behaviour learns as far as it is ``due``.

        The view comes along only if a method reads it afterwards: what a captured graph gives out is copied.
        """
        drives, model, first = self.drives.values(), self.world_model, batch["is_first"]
        assert batch["observation"].shape[:2] == batch["reward"].shape == first.shape
        assert batch["action"].shape == (*first.shape, self.action_dim)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            model.take_in(batch["observation"])
            # encode the observations and filter the sequences: (B, T, ...)
            seen = model.observe(batch["observation"], batch["action"], first)
            assert seen.feat.shape == (*first.shape, model.rssm.feat_dim) and seen.kl.shape == first.shape
            # methods learn from replay
            view = self._view(seen, batch)
            parts = [drive.train_method(view) for drive in drives]
            # the main drive says what the reward head is to learn
            target = self.main.target(view, self.clip_reward(batch["reward"]))
            # the world model steps
            loss, found = model.loss(seen, target)
            parts += [found, Updated({"model_grad_norm": self.model_opt.step(loss)}, dict(target.metrics))]
            # behaviours imagine from every state, (B, T, ...) -> (B * T, ...), are paid, and step
            start = seen.post.detach().flatten()
            assert start.deter.shape == (first.numel(), model.rssm.deter)
            parts += [drive.train_behavior(model, start, what) for drive, what in zip(drives, due, strict=True)]
        return Updated.of(*parts), (view,) if any(drive.method.reads_view for drive in drives) else ()

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

    def graph_key(self, mode: Mode | None) -> Hashable:
        """See :class:`agents.agent.Captured`: what was settled on the host so far, and, to act, who does and how. The
        planner's evaluation sets the random state, which no graph can.
        """
        if self.planning and mode in ("eval", "show"):
            return None
        facts = tuple(fact.on if isinstance(fact, Latch) else fact.settled for fact in self._facts)
        return facts if mode is None else (*facts, self.pilot.undecided, self.planning)

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """See :class:`agents.agent.Captured`: steps of the recurrent model and of actors in imagination, heads,
        encoder, losses of the world model.
        """
        model = self.world_model
        steps: list[tuple[nn.Module, str]] = [(model.rssm, "forward_step"), (model.rssm, "backward_step")]
        behaviors = [drive.behavior for drive in self.drives.values()]
        heads = [head for behavior in behaviors for head in behavior.heads()]
        steps += [(head.net, "traced") for head in heads if isinstance(head, Actor)]
        return [*steps, *((head, "forward") for head in (*heads, model.reward_head, model.encoder)), (model, "loss")]

    # ---- looking at what was learned

    def report(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``openl_observation``: open-loop predictions of the first 8 rows; nothing for an agent that sees states."""
        if not is_image(self.obs_shape):
            return {}
        observation, action, is_first = (batch[key][:8] for key in ("observation", "action", "is_first"))
        video = self.world_model.open_loop(observation, action, is_first, coded=self.pilot.coded)
        return {"openl_observation": video}

    @torch.no_grad()
    def skill_images(self) -> Tensor | None:
        """Images of where its skills are to lead, where it has such goals (see :mod:`agents.agent`)."""
        goals = self.pilot.goals() if is_image(self.obs_shape) else None
        return None if goals is None else self.world_model.images_of(goals)

    @torch.no_grad()
    def skill_to(self, observation: Tensor) -> Tensor | None:
        """The skill whose code is nearest to the state in which ``observation`` is seen (see :mod:`agents.agent`)."""
        return self.pilot.code_of(self.world_model.standing(observation.to(self.device)).deter)

    @torch.no_grad()
    def embed(self, observations: Tensor) -> Tensor:
        """The encoder's embedding of the last observation (see :mod:`agents.agent`)."""
        return self.world_model.encode(observations[-1:].to(self.device))[0]

    def skill_log_probs(self, observations: Tensor) -> None:
        """There is none: methods read the features of latent states (see :mod:`agents.agent`)."""

    def activation_bytes(self, batch_size: int, length: int) -> int:
        """See :class:`agents.agent.Learns`."""
        side = self.obs_shape[-1] if is_image(self.obs_shape) else 0
        return activation_bytes(self, batch_size * length, side, self.main.behavior.horizon)

    # ---- saving

    def snapshot_modules(self) -> dict[str, dict[str, Tensor]]:
        """State dicts of the world model's parts (``encoder``, ``rssm``, ``decoder``, ``reward_head``) and of every
        drive's: ``actor``, ``critic``, ``slow_critic``, ``method``, ``skills``, and what of the method fine-tuning
        restores; those of drives besides the main one with its name before them.
        """
        restored = {f"{drive.prefix}method_finetune": drive.method.finetune_state() for drive in self.drives.values()}
        return {name: part.state_dict() for name, part in self._parts().items()} | restored

    def _parts(self) -> dict[str, nn.Module]:
        """The modules of a snapshot by name."""
        parts = self.world_model.parts(*LOADED_ALWAYS, "reward_head")
        for drive in self.drives.values():
            parts |= drive.parts()
        return parts

    def load_snapshot(
        self, modules: Mapping[str, Mapping[str, Tensor]], *, init_actor: bool, init_critic: bool
    ) -> None:
        """Copy what normalises states, encoder, RSSM and decoder, the actor if ``init_actor``, the critics if
        ``init_critic``.

        Everything else stays fresh. Raises :class:`UserError` for a snapshot of other sizes.
        """
        self.world_model.check_norm(modules)
        wanted = self.world_model.parts(*LOADED_ALWAYS)
        for drive in self.drives.values():
            wanted |= drive.initial(init_actor=init_actor, init_critic=init_critic)
        for name, module in wanted.items():
            if name not in modules:
                raise UserError(
                    f"the snapshot has no {name}, which agent={self.name} starts from. Take one that this agent was "
                    "pre-trained to."
                )
            load_part(module, name, modules[name], SIZES)
        for drive in self.drives.values():
            if init_actor and drive.behavior.anchor is not None:
                drive.behavior.anchor.hold(drive.behavior.actor)
            self._restore_method(drive, modules.get(f"{drive.prefix}method_finetune", {}))

    def _restore_method(self, drive: Drive, found: Mapping[str, Tensor]) -> None:
        kept = drive.method.finetune_state()
        if missing := sorted(kept.keys() - found.keys()):
            raise UserError(
                f"the snapshot lacks {missing[0]}, which agent={self.name} needs in fine-tuning. It was made with "
                "another setting of this agent; pre-train again, or fine-tune with the setting it was made with."
            )
        restored = drive.method.state_dict() | {key: found[key] for key in kept}
        load_part(drive.method, f"{drive.prefix}method", restored, SIZES)

    def load_weights(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take everything a snapshot of the same phase holds: the agent then acts and plans as the one that was saved.

        Raises :class:`UserError` for a snapshot of other sizes.
        """
        self.world_model.check_norm(modules)
        for name, module in self._parts().items():
            load_part(module, name, modules.get(name, {}), SIZES)

    def training_state(self) -> dict[str, Any]:
        """Weights, buffers, optimiser states, the update counter and whether planning has begun."""
        optimizers = {name: opt.state_dict() for name, opt in self._optimizers().items()}
        counters = {"updates": self.updates, "planning": self.planning}
        return {"modules": renamed(self.state_dict(), STORED_AS), "optimizers": optimizers, **counters}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Back to what :meth:`training_state` returned, in place."""
        self.load_state_dict(renamed(state["modules"], {old: new for new, old in STORED_AS.items()}))
        for name, opt in self._optimizers().items():
            opt.load_state_dict(state["optimizers"][name])
        self.updates, self.planning = state["updates"], state["planning"]

    def _optimizers(self) -> dict[str, Optimizer]:
        found = {"model": self.model_opt}
        for drive in self.drives.values():
            found |= drive.optimizers()
        return found
