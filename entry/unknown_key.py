"""What to answer to a configuration key that does not exist."""

import difflib
import functools
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from utils.config import CONFIGS, configs_of, flatten
from utils.errors import UserError


def scripts() -> dict[str, str]:
    """The entry scripts: name of the configuration -> file."""
    from entry.scripts import SCRIPTS  # loads torch, which a command line without a fault can wait for

    return {config: script.file for config, script in SCRIPTS.items()}


def hint(key: str, known: Iterable[str]) -> str:
    """Sentences on what has ``key`` instead, and on the nearest of the ``known`` keys; empty when nothing is near.

    With the former, only known keys that end in ``key`` count as near.
    """
    known, owners = list(known), _owners(key)
    near = _that_end_in(key, known) if owners else _near(key, known)
    first = f" {key} is a key of {owners}." if owners else ""
    return first + (f" Did you mean {' or '.join(near)}?" if near else "")


def other_group(name: str, config_name: str) -> str:
    """What to answer where only other scripts than that of ``config_name`` have a configuration group ``name``.

    Empty where it has it, too, and where nobody has it.
    """
    owners = [file for config, file in scripts().items() if name in groups(config)]
    if name in groups(config_name) or not owners:
        return ""
    return f"{scripts()[config_name]} has no {name}=. {_listed(owners)} {'has' if len(owners) == 1 else 'have'} it."


def check_sections(config_name: str, job: DictConfig) -> None:
    """Raise :class:`UserError` for a section of a job that was given like a group, which only other scripts have, and
    for an agent without a name, of which folders are made.
    """
    for name in {name for config in scripts() for name in groups(config)} & _keys(config_name):
        if (elsewhere := other_group(name, config_name)) and not OmegaConf.is_dict(job._get_node(name)):
            raise UserError(f"{name}={job[name]}: {elsewhere}")
    agent = job._get_node("agent")
    if not isinstance(agent, DictConfig) or "name" not in agent:
        option = job.hydra.runtime.choices.get("agent", config_name)
        raise UserError(f"agent={option}: agent.name is missing, and every agent needs it. Add it to the agent's file.")


def groups(config_name: str) -> list[str]:
    """The configuration groups in the defaults list of a configuration."""
    entries = [entry for entry in _load(config_name).get("defaults", []) if not isinstance(entry, str)]
    names = [str(name).removeprefix("optional ") for entry in entries for name in entry]
    return [name for name in names if not name.startswith("override ")]


def _owners(key: str) -> str:
    """The agents, or the other scripts, whose files have ``key``."""
    section, _, rest = key.partition(".")
    if section == "agent":
        agents = sorted((CONFIGS / "agent").glob("*.yaml"))
        names = [path.stem for path in agents if rest in flatten(_load(f"agent/{path.stem}"))]
        return f"agent={', '.join(names)}" if names else ""
    if key == "defaults":
        return ""
    return _listed([file for config, file in scripts().items() if key in _keys(config)])


def _listed(files: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(files[:-1]), *files[-1:])))


def _keys(config_name: str) -> set[str]:
    """The keys of a script's configuration, and of those it is based on."""
    return {*flatten(_load(config_name)), *(key for base in bases(config_name) for key in _keys(base))}


def bases(config_name: str) -> list[str]:
    """The configurations that one is based on."""
    return [entry for entry in _load(config_name).get("defaults", []) if isinstance(entry, str) and entry != "_self_"]


@functools.cache
def _load(name: str) -> DictConfig:
    config = OmegaConf.load(configs_of(name) / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    return config


def _near(key: str, known: list[str]) -> list[str]:
    """The nearest key of the same section, if ``key`` names one; else the nearest of all, or those that end in it."""
    section, _, last = key.rpartition(".")
    if section in known:
        # what they share says nothing: agent.beta is not near to agent.name
        siblings = [name.removeprefix(f"{section}.") for name in known if name.startswith(f"{section}.")]
        if not siblings:
            return [section]
        return [f"{section}.{name}" for name in difflib.get_close_matches(last, siblings, n=1, cutoff=0.7)]
    return _that_end_in(key, known) or difflib.get_close_matches(key, known, n=1, cutoff=0.7)


def _that_end_in(key: str, known: list[str]) -> list[str]:
    return [] if "." in key else [name for name in known if name.endswith(f".{key}")][:4]
