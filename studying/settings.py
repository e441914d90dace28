"""What a study consists of, read from its YAML file and the words of the command line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from hydra.errors import HydraException

from entry.composing import parsed
from studying.expected import read_expected
from utils.config import CONFIGS
from utils.errors import UserError, unknown_value
from utils.plain_yaml import read
from utils.rules import COUNT, Count, Flag, FolderName, Rule, Text, is_int, is_text
from utils.settings import Section, SettingError, UnknownKey, fields_of, keys_of, parse

STUDIES = CONFIGS / "study"
"""Where the studies are that go by their name alone."""

AUTO = "auto"

_NAME = re.compile(r"[\w.]+")


def _several(value: Any, holds: Any, least: int) -> bool:
    return isinstance(value, list) and len(value) >= least and all(map(holds, value)) and len(set(value)) == len(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


NAMES = Rule("a list of names, each once", lambda v: _several(v, _is_name, 0))
SOME_NAMES = Rule("a list of names, each once, one at least", lambda v: _several(v, _is_name, 1))
SEEDS = Rule(
    "a list of whole numbers from 0, each once, one at least",
    lambda v: _several(v, lambda one: is_int(one) and 0 <= one < 2**32, 1),
)
FRAMES = Rule(
    "a list of frame counts above 0, each once, one at least",
    lambda v: _several(v, lambda one: is_int(one) and one > 0, 1),
)
WORDS = Rule(
    "a list of overrides such as [num_envs=2]",
    lambda v: isinstance(v, list) and all(is_text(w) and "=" in w for w in v),
)

Names = Annotated[list[str], NAMES]
SomeNames = Annotated[list[str], SOME_NAMES]
Seeds = Annotated[list[int], SEEDS]
Frames = Annotated[list[int], FRAMES]
Words = Annotated[list[str], WORDS]


class PretrainPart(Section):
    """Every agent is pre-trained with every seed, in environments or, with ``updates``, on data of others."""

    seeds: Seeds
    frames: Count | None = None
    updates: Count | None = None
    dataset: FolderName = "exorl"
    """Of ``updates``, as :attr:`collection_method`."""
    collection_method: FolderName | None = None
    overrides: Words = []  # noqa: RUF012

    @property
    def unit(self) -> str:
        """What snapshots are counted in."""
        return "frames" if self.updates is None else "updates"

    @property
    def length(self) -> int:
        """In that unit."""
        return self.frames or self.updates or 0

    def check(self) -> None:
        """Raise :class:`UserError` unless it is one or the other."""
        if (self.frames is None) == (self.updates is None):
            raise UserError(
                "pretrain: set either pretrain.frames=<frames>, in environments, or pretrain.updates=<updates> and "
                "pretrain.collection_method=<name>, on a data set."
            )
        if (self.updates is None) != (self.collection_method is None):
            raise UserError(
                "pretrain.updates and pretrain.collection_method are for learning from a data set, and need each "
                "other. Set both, or neither and pretrain.frames."
            )


class FinetunePart(Section):
    """Every snapshot is fine-tuned on every task with every seed."""

    frames: Count
    snapshots: Frames
    seeds: Seeds | None = None
    """None: each with the seed of its pre-training."""
    overrides: Words = []  # noqa: RUF012


class Variant(Section):
    """More fine-tunings, of some of the agents, tasks and pre-training seeds (None: of all), with more overrides."""

    agents: SomeNames | None = None
    tasks: SomeNames | None = None
    pretrain_seeds: Seeds | None = None
    seeds: Seeds | None = None
    snapshots: Frames | None = None
    overrides: Words = []  # noqa: RUF012


class SkillsPart(Section):
    """Every skill of these agents is followed on every task before any fine-tuning."""

    agents: SomeNames
    episodes: Count


class StudyKeys(Section):
    """The runs of a study."""

    agents: Names
    tasks: SomeNames
    configs: FolderName = "dmc_pixels"
    preset: FolderName = "published"
    overrides: Words = []  # noqa: RUF012
    """Of every run."""
    pretrain: PretrainPart
    finetune: FinetunePart
    baselines: Names = []  # noqa: RUF012
    """Agents that learn every task from scratch."""
    variants: Annotated[dict, Rule("a table name: fine-tunings", lambda v: isinstance(v, dict))] = {}  # noqa: RUF012
    """See :class:`Variant`."""
    skills: SkillsPart | None = None
    expected: Annotated[list, Rule("a list of published numbers", lambda v: isinstance(v, list))] = []  # noqa: RUF012
    """See :class:`studying.expected.Expected`."""


class HowKeys(Section):
    """How a study is run; nothing of it changes a result."""

    jobs: Annotated[int | str, Rule("a whole number from 1, or auto", lambda v: v == AUTO or COUNT.holds(v))] = 1
    """Runs side by side; auto: as many as this machine has room for."""
    threads: Count | None = 1
    """Of each run; None: as many as torch takes."""
    only: Annotated[
        Any, Rule("an agent or a task, or a list of them", lambda v: v is None or is_text(v) or NAMES.holds(v))
    ] = None
    studies_dir: Text = "studies"
    name: FolderName | None = None
    """Of the study's folder; None: the study's own name."""
    results_dir: Text | None = None
    """None: ``results`` in the study's folder."""
    dry_run: Flag = False
    measure: Flag = True
    """Whether a dry run measures how long the runs will take."""
    report: Flag = False
    """Write the report of what is there, and start nothing."""


class Asked(Section):
    """A command line."""

    study: FolderName
    runs: StudyKeys
    how: HowKeys
    variants: dict[str, Variant]
    expected: list[Any]
    """Of :class:`analysis.published.Published`."""

    @property
    def name(self) -> str:
        return self.how.name or self.study


def read_request(words: Sequence[str]) -> Asked:
    """The study that a command line asks for. Raises :class:`UserError` for anything wrong with it."""
    values: dict[str, Any] = {}
    try:
        for override in parsed(words):
            if override.is_sweep_override() or override.is_delete() or override.is_add():
                raise UserError(f"{override.input_line} is not possible: study.py takes key=value.")
            values[override.key_or_group] = override.value()
    except (HydraException, ValueError) as error:
        reason = (str(error).splitlines() or ["it cannot be read"])[0]
        raise UserError(f"{' '.join(words)}: {reason}. study.py takes key=value; --help says more.") from None
    name = values.pop("study", None)
    if not is_text(name):
        raise unknown_value("study", name, _known())
    path = _file(name)
    stored = read(path, "It is the file of a study.")
    own = {key: value for key, value in values.items() if key.partition(".")[0] in fields_of(StudyKeys)}
    how = {key: value for key, value in values.items() if key not in own}
    file_how = {key: stored.pop(key) for key in ("jobs", "threads") if key in stored}
    try:
        runs = parse(StudyKeys, _merged(stored, own))
        variants = {str(key): _variant(str(key), value) for key, value in runs.variants.items()}
        runs.pretrain.check()
        return Asked(
            study=path.stem,
            runs=runs,
            how=parse(HowKeys, file_how | how),
            variants=variants,
            expected=read_expected(runs.expected),
        )
    except UnknownKey as error:
        raise unknown_value("key", error.key, {*keys_of(StudyKeys), *keys_of(HowKeys)}) from None
    except SettingError as error:
        raise UserError(f"{name}: {error}") from None


def _known() -> list[str]:
    return [path.stem for path in STUDIES.glob("*.yaml")]


def _file(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    path = STUDIES / f"{name}.yaml"
    if not path.is_file():
        raise unknown_value("study", name, _known())
    return path


def _merged(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with those of dotted keys replaced."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in stored.items()}
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        inner = found.get(head)
        found[head] = _merged(inner if isinstance(inner, dict) else {}, {rest: value}) if rest else value
    return found


def _variant(name: str, value: Any) -> Variant:
    if not _is_name(name):
        raise UserError(f"variants.{name}: a name has letters, digits, _ and . only.")
    if not isinstance(value, dict):
        raise UserError(f"variants.{name} must be a section with some of the keys {', '.join(fields_of(Variant))}.")
    try:
        return parse(Variant, value)
    except UnknownKey as error:
        raise unknown_value(f"variants.{name}: key", error.key, fields_of(Variant)) from None
    except SettingError as error:
        raise UserError(f"variants.{name}: {error}") from None
