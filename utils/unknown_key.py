"""What to answer to a configuration key that does not exist."""

import difflib
import functools
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from utils.config import CONFIGS, flatten

SCRIPTS = ("pretrain", "finetune")


def hint(key: str, known: Iterable[str]) -> str:
    """A sentence on what has ``key`` instead, or on the nearest of the ``known`` keys; empty when nothing is near."""
    if owners := _owners(key):
        return f" {key} is a key of {owners}."
    near = _near(key, list(known))
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _owners(key: str) -> str:
    """The agents, or the other script, whose files have ``key``."""
    section, _, rest = key.partition(".")
    if section == "agent":
        agents = sorted((CONFIGS / "agent").glob("*.yaml"))
        names = [path.stem for path in agents if rest in flatten(_load(f"agent/{path.stem}"))]
        return f"agent={', '.join(names)}" if names else ""
    scripts = [name for name in SCRIPTS if key != "defaults" and key in flatten(_load(name))]
    return " and ".join(f"dreamer_{name}.py" for name in scripts)


@functools.cache
def _load(name: str) -> DictConfig:
    config = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    return config


def _near(key: str, known: list[str]) -> list[str]:
    """The nearest key of the same section, if ``key`` names one; else the nearest of all, or those that end in it."""
    section, dot, last = key.rpartition(".")
    if section in known:
        # what they share says nothing: agent.beta is not near to agent.name
        siblings = [name.removeprefix(f"{section}.") for name in known if name.startswith(f"{section}.")]
        if not siblings:
            return [section]
        return [f"{section}.{name}" for name in difflib.get_close_matches(last, siblings, n=1, cutoff=0.7)]
    ends = [] if dot else [name for name in known if name.endswith(f".{key}")]
    return ends[:4] or difflib.get_close_matches(key, known, n=1, cutoff=0.7)
