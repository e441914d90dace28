"""What a snapshot stores, as the overrides that are put in front of the words of a command line that starts from it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entry.stored import CHOICES, FORMER_PRESET, PHASE, read_config
from entry.unknown_key import groups
from utils.advice import in_hydra, override
from utils.errors import UserError
from utils.own_code import PACKAGES, code_in, refuse_unnamed
from utils.settings import fields_of

SNAPSHOT = "snapshot"
"""The key that names the file."""

GROUPS = ("agent", "configs", "preset")
"""Configuration groups whose choice is taken over."""

METHOD = "method"
"""The key of ``drq_train.py`` on which defaults of others depend."""

TASKS = ("env", "task")
"""The keys that name the task; the former wins."""


class Words(NamedTuple):
    """What a command line says, as far as it decides about what is taken over."""

    script: str
    """The configuration of the script."""
    values: Mapping[str, Any]
    """Its overrides; of a sweep, the first value."""
    compose: Callable[[Sequence[str]], DictConfig]
    """Hydra, with the files that this command line has."""
    options: Callable[[str], Collection[str]]
    """What may be chosen of a group; none where there is no such group."""

    @property
    def deciding(self) -> list[tuple[str, Any]]:
        """The overrides on which it depends what is taken over."""
        return [(key, self.values[key]) for key in (*GROUPS, METHOD, *PACKAGES, *TASKS) if key in self.values]


def of_snapshot(name: str, words: Words) -> list[str]:
    """The overrides that stand for the snapshot ``name``: groups first, then the settings that its weights need.

    Raises :class:`UserError` where there is no snapshot, it is of another agent or script, or a file that it was made
    with is not here.
    """
    from entry.scripts import SCRIPTS  # these load torch, which a command line without a snapshot can wait for
    from training.fitting import stored_settings
    from training.named_snapshot import absolute, read_named
    from training.pretrained import Pretrained

    content, said = read_named(name, SNAPSHOT), override(SNAPSHOT, absolute(name))
    stored, aliases = content["config"], SCRIPTS[words.script].aliases
    groups = _groups(content, said, words)
    chosen = [override_of(*pair) for pair in groups.items()]
    base = aliases.internal(_plain(words.compose(chosen)))
    method = words.values.get(METHOD, stored.get(METHOD))
    follows = METHOD in base and isinstance(method, str) and method != base[METHOD]
    if follows:
        base = aliases.internal(_plain(words.compose([*chosen, override_of(METHOD, method)])))
    refuse_unnamed(stored, [*code_in(base).values(), *(words.values.get(key) for key in PACKAGES)], said)
    _check_agent(content, base, said, words)
    _check_task(Pretrained(absolute(name), content), words)
    taken = {group: option for group, option in groups.items() if group not in words.values}
    taken |= {aliases.published(key): value for key, value in stored_settings(content, base).items()}
    if follows and METHOD not in words.values:
        taken[METHOD] = method
    return [override_of(key, value) for key, value in taken.items()]


def of_run(folder: Path, words: Words) -> list[str]:
    """The overrides that stand for the groups of the run in ``folder``, which goes on and needs its snapshot no more.

    They make the keys known that the words of its command line name. Raises :class:`UserError` for a damaged folder.
    """
    stored = _choices(read_config(folder))
    return [override_of(key, stored[key]) for key in GROUPS if stored.get(key) in words.options(key)]


def override_of(key: str, value: object) -> str:
    """``key=value`` as Hydra takes it."""
    return f"{key}={in_hydra(value)}"


def _groups(content: Mapping[str, Any], said: str, words: Words) -> dict[str, str]:
    """What the snapshot was made with of every group. Where that is not here, or the agent is another one, it is the
    choice of the command line.
    """
    stored = {"agent": content["agent"]} | _choices(content["config"])
    chosen = {}
    for group in GROUPS:
        options = words.options(group)
        named = words.values.get(group)
        if isinstance(named, str) and (group == "agent" or stored.get(group) not in options):
            chosen[group] = named
        elif group in stored and options:
            if stored[group] not in options:
                raise _no_such_file(content, group, str(stored[group]), said, words)
            chosen[group] = str(stored[group])
    return chosen


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    choices = dict(config.get(CHOICES) or {})
    return {"preset": choices[FORMER_PRESET], **choices} if FORMER_PRESET in choices else choices


def _no_such_file(content: Mapping[str, Any], group: str, option: str, said: str, words: Words) -> UserError:
    writer = _other_script(content, words.script)
    if group == "agent" and writer is not None:
        return _wrong_script(said, option, writer, words)
    return UserError(
        f"{said} was made with {override(group, option)}, and there is no such file here. Add the --config-dir that "
        f"has it, or set {group} to one of {', '.join(sorted(words.options(group)))}."
    )


def _wrong_script(said: str, agent: str, writer: str, words: Words) -> UserError:
    from entry.scripts import SCRIPTS

    [keys] = [script.keys for script in SCRIPTS.values() if script.file == writer]
    starts = "Start it with that script, or name" if SNAPSHOT in fields_of(keys) else "Name"
    return UserError(
        f"{said} is of agent={agent}, which {writer} has written, and not of {SCRIPTS[words.script].file}. {starts} "
        "another snapshot."
    )


def _other_script(content: Mapping[str, Any], script: str) -> str | None:
    """The file of the script that wrote a snapshot, where that has agents of another kind."""
    from entry.scripts import SCRIPTS

    phase = content["config"].get(PHASE)
    if phase not in SCRIPTS or ("agent" in groups(phase)) == ("agent" in groups(script)):
        return None
    return SCRIPTS[phase].file


def _check_agent(content: Mapping[str, Any], base: Mapping[str, Any], said: str, words: Words) -> None:
    made, target = content["agent"], content["config"]["agent"]["_target_"]
    if "agent" in words.values and base["agent"]["name"] != made:
        raise UserError(
            f"{override('agent', words.values['agent'])}: {said} is of agent={made}. Leave agent out, or set "
            f"{override('agent', _choices(content['config']).get('agent', made))}."
        )
    if base["agent"]["_target_"] == target:
        return
    if (writer := _other_script(content, words.script)) is not None:
        raise _wrong_script(said, made, writer, words)
    raise UserError(
        f"{said} is of agent={made}, {target}, and this run has agent={base['agent']['name']}, "
        f"{base['agent']['_target_']}. Name a snapshot of the same."
    )


def _check_task(source: Any, words: Words) -> None:
    """The same body, where the command line names a task of the suite: said before its settings are looked at."""
    from envs.make import canonical_task, validate_task
    from training.fitting import check_domain

    task = next(filter(None, map(words.values.get, TASKS)), None)
    if not isinstance(task, str) or words.values.get("env_factory") is not None:
        return
    try:
        domain, _ = validate_task(canonical_task(task))
    except UserError:  # said of the settings
        return
    check_domain(source, task, domain)


def _plain(config: DictConfig) -> dict[str, Any]:
    """The keys of a configuration whose values are known before a job begins."""
    plain = {}
    for key in config:
        try:
            value = None if key == "hydra" else config[key]
            plain[str(key)] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:  # a ${hydra:...}
            continue
    return plain
