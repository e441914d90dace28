"""All runs of a study: what each is, the command it stands for, and what it waits for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import split
from typing import Literal, NamedTuple

from envs.make import PRIMAL_TASKS, validate_task
from studying.settings import Asked, StudyKeys, Variant
from utils.advice import in_shell, override
from utils.errors import UserError, unknown_value

Kind = Literal["pretrain", "skills", "finetune"]

SCRIPTS: dict[str, str] = {
    "pretrain": "dreamer_pretrain.py",
    "offline": "offline_train.py",
    "skills": "evaluate.py",
    "finetune": "dreamer_finetune.py",
}

SCRATCH = "scratch"

DATA = ("dataset", "collection_method")
"""Overrides of runs that learn from a data set, and of those that start from what these have learned."""


class Planned(NamedTuple):
    """One run."""

    kind: Kind
    agent: str
    domain: str
    task: str
    """Of a pre-training, the domain's primal one."""
    pretrain_seed: int | None
    """None from scratch."""
    seed: int
    pretrain_frames: int
    """Of the snapshot it starts from; 0 from scratch and of a pre-training."""
    variant: str
    """Empty for the plain one."""
    frames: int
    """Its length."""
    words: tuple[str, ...]
    """The overrides that make it the run it is, as a shell takes them: all but where its files lie."""

    @property
    def name(self) -> str:
        """What it and its files are called."""
        if self.kind == "pretrain":
            return f"pretrain-{self.domain}-{self.agent}-p{self.seed}"
        if self.pretrain_seed is None:
            return f"{self.task}-{self.agent}-{SCRATCH}{self._tail}"
        first = "skills-" if self.kind == "skills" else ""
        return f"{first}{self.task}-{self.agent}-p{self.pretrain_seed}-{self.pretrain_frames}{self._tail}"

    @property
    def _tail(self) -> str:
        return f"-s{self.seed}" + f"-{self.variant}" * bool(self.variant)

    @property
    def script(self) -> str:
        return SCRIPTS["offline" if self.kind == "pretrain" and self.data else self.kind]

    @property
    def data(self) -> tuple[str, ...]:
        """Name of the data set and of how it was collected, that it or its snapshot has learned from; else nothing."""
        words = dict(word.split("=", 1) for part in self.words for word in split(part) if "=" in word)
        return tuple(words[key] for key in DATA) if DATA[1] in words else ()

    @property
    def needs(self) -> str | None:
        """The run whose snapshot it starts from."""
        if self.kind == "pretrain" or self.pretrain_seed is None:
            return None
        return f"pretrain-{self.domain}-{self.agent}-p{self.pretrain_seed}"


class Places:
    """Where the files of a study are."""

    def __init__(self, folder: Path, observes: str, results: Path | None = None) -> None:
        self.folder, self.observes = folder, observes
        self.results = results or folder / "results"

    def run(self, run: Planned) -> Path:
        """The run folder."""
        return self.folder / "runs" / run.name

    def log(self, run: Planned) -> Path:
        """What the run has said."""
        return self.folder / "logs" / f"{run.name}.log"

    @property
    def snapshots(self) -> Path:
        """What the runs know as ``snapshot_base_dir``."""
        return self.folder / "snapshots"

    def snapshot(self, run: Planned) -> Path:
        """The one that a run starts from."""
        base = self.snapshots.joinpath(*(run.data or (self.observes,)))
        folder = base / run.domain / run.agent / str(run.pretrain_seed)
        return folder / f"snapshot_{run.pretrain_frames}.pt"

    def words(self, run: Planned, *, resume: bool = False) -> list[str]:
        """The words of the command, as a shell takes them; of one that goes on with the run if ``resume``."""
        if resume:
            return [override("resume", self.run(run))]
        if run.kind == "skills":
            out = self.run(run)
            files = [in_shell(f"{end}={out}.{end}") for end in ("csv", "json")]
            return [in_shell(f"snapshot={self.snapshot(run)}"), *run.words, *files]
        source = [override("snapshot", self.snapshot(run))] if run.needs else []
        made = [override("snapshot_base_dir", self.snapshots)] if run.kind == "pretrain" else []
        return [*source, *run.words, *made, override("hydra.run.dir", self.run(run))]


def plan(asked: Asked) -> list[Planned]:
    """All runs of a study, what others wait for first. Raises :class:`UserError` for one that there cannot be."""
    keys = asked.runs
    domains = {task: validate_task(task)[0] for task in keys.tasks}
    _check(keys, asked.variants)
    later = [*_skills(keys, domains), *_finetunings(keys, asked.variants, domains)]
    first = list(_pretrainings(keys, dict.fromkeys(domains.values()), later))
    runs = [*first, *later]
    if len({run.name for run in runs}) != len(runs):
        twice = next(run.name for i, run in enumerate(runs) if run.name in {other.name for other in runs[:i]})
        raise UserError(f"{asked.study}: {twice} is there twice. A variant with overrides needs a name of its own.")
    return runs


def chosen(runs: Sequence[Planned], only: str | Sequence[str] | None) -> list[Planned]:
    """The runs of the agents and tasks that ``only`` names, and the pre-trainings they start from; all for None.

    Raises :class:`UserError` for a name that no run has.
    """
    names = [] if only is None else [only] if isinstance(only, str) else list(only)
    kinds: tuple[set[str], ...] = ({run.agent for run in runs}, {run.task for run in runs if run.kind != "pretrain"})
    for name in names:
        if not any(name in kind for kind in kinds):
            raise unknown_value("only", name, kinds[0] | kinds[1])
    agents, tasks = (kind & set(names) for kind in kinds)
    took = [
        run
        for run in runs
        if run.kind != "pretrain" and (not agents or run.agent in agents) and (not tasks or run.task in tasks)
    ]
    needed = {run.needs for run in took}
    alone = [run for run in runs if run.kind == "pretrain" and not tasks and (not agents or run.agent in agents)]
    names_of = {run.name for run in (*took, *alone)} | needed
    return [run for run in runs if run.name in names_of]


def _check(keys: StudyKeys, variants: Mapping[str, Variant]) -> None:
    for name, variant in variants.items():
        for key, known in (("agents", keys.agents), ("tasks", keys.tasks)):
            for one in getattr(variant, key) or ():
                if one not in known:
                    raise unknown_value(f"variants.{name}.{key}", one, known)
        for seed in variant.pretrain_seeds or ():
            if seed not in keys.pretrain.seeds:
                raise unknown_value(f"variants.{name}.pretrain_seeds", seed, keys.pretrain.seeds)
    for agent in keys.skills.agents if keys.skills else ():
        if agent not in keys.agents:
            raise unknown_value("skills.agents", agent, keys.agents)
    for mark in [*keys.finetune.snapshots, *(m for v in variants.values() for m in v.snapshots or ())]:
        if mark > keys.pretrain.length:
            raise UserError(
                f"snapshots={mark} is after the end of pre-training. Set pretrain.{keys.pretrain.unit}={mark}, or name "
                f"a snapshot up to {keys.pretrain.length}."
            )


def _group(keys: StudyKeys, agent: str) -> list[str]:
    return [f"agent={agent}", override("configs", keys.configs), override("preset", keys.preset)]


def _data(keys: StudyKeys) -> list[str]:
    """What runs on a data set, and those that start from their snapshots, have in their words; nothing of others."""
    values = (keys.pretrain.dataset, keys.pretrain.collection_method)
    return [] if values[1] is None else [override(key, value) for key, value in zip(DATA, values, strict=True)]


def _added(*words: Iterable[str]) -> list[str]:
    return [in_shell(word) for part in words for word in part]


def _pretrainings(keys: StudyKeys, domains: Iterable[str], later: Sequence[Planned]) -> Iterator[Planned]:
    for seed in keys.pretrain.seeds:
        for domain in domains:
            for agent in keys.agents:
                base = Planned(
                    "pretrain", agent, domain, PRIMAL_TASKS[domain], seed, seed, 0, "", keys.pretrain.length, ()
                )
                marks = sorted({run.pretrain_frames for run in later if run.needs == base.name})
                if not marks:
                    continue
                own = [f"domain={domain}", f"seed={seed}", f"num_train_{keys.pretrain.unit}={keys.pretrain.length}"]
                words = [*_group(keys, agent), *own, *_data(keys), override("snapshots", marks)]
                yield base._replace(words=(*words, *_added(keys.overrides, keys.pretrain.overrides)))


def _skills(keys: StudyKeys, domains: Mapping[str, str]) -> Iterator[Planned]:
    if keys.skills is None:
        return
    for task, domain in domains.items():
        for agent in keys.skills.agents:
            for pretrained in keys.pretrain.seeds:
                for mark in keys.finetune.snapshots:
                    words = (f"task={task}", f"episodes={keys.skills.episodes}", "seed=0")
                    yield Planned("skills", agent, domain, task, pretrained, 0, mark, "", 0, words)


def _finetunings(keys: StudyKeys, variants: Mapping[str, Variant], domains: Mapping[str, str]) -> Iterator[Planned]:
    for task, domain in domains.items():
        for agent in keys.baselines:
            for seed in keys.finetune.seeds or keys.pretrain.seeds:
                start = ["snapshot_ts=0", *_data(keys)[:1]]  # the environment that the data were collected in
                words = _finetuned(keys, agent, task, seed, start, [])
                yield Planned("finetune", agent, domain, task, None, seed, 0, "", keys.finetune.frames, words)
    for name, one in [("", Variant()), *variants.items()]:
        variant = name if one.overrides else ""
        for task in one.tasks or keys.tasks:
            for agent in one.agents or keys.agents:
                for mark in one.snapshots or keys.finetune.snapshots:
                    for pretrained in one.pretrain_seeds or keys.pretrain.seeds:
                        for seed in one.seeds or keys.finetune.seeds or [pretrained]:
                            words = _finetuned(keys, agent, task, seed, _data(keys), one.overrides)
                            yield Planned(
                                "finetune",
                                agent,
                                domains[task],
                                task,
                                pretrain_seed=pretrained,
                                seed=seed,
                                pretrain_frames=mark,
                                variant=variant,
                                frames=keys.finetune.frames,
                                words=words,
                            )


def _finetuned(
    keys: StudyKeys, agent: str, task: str, seed: int, source: list[str], more: Sequence[str]
) -> tuple[str, ...]:
    own = [f"task={task}", *source, f"seed={seed}", f"num_train_frames={keys.finetune.frames}"]
    return (*_group(keys, agent), *own, *_added(keys.overrides, keys.finetune.overrides, more))
