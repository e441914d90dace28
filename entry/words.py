"""Overrides by Hydra's grammar, and the jobs of a sweep that they make."""

import math
from collections.abc import Callable, Sequence
from itertools import islice, product
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

MOST = 200
"""Jobs of a sweep that are all composed and checked before the first one begins: a quarter of a second each."""


def parsed(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Overrides by Hydra's grammar; ``loader`` knows the options that a ``glob`` stands for.

    Raises HydraException, or ValueError for numbers of thousands of digits.
    """
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


NAMED = 5
"""Faults of a sweep's jobs, and jobs of a fault, that a message names."""


class Jobs(NamedTuple):
    """What is known of the jobs of a sweep before it begins."""

    words: list[list[str]]
    """Overrides of some of them, one after the other."""
    whole: bool
    """Whether these are all, in the order in which they are begun. (That of a ``shuffle`` is another one each time.)"""
    swept: tuple[str, ...]
    """The keys of which there are several values."""

    def differing(self, number: int) -> list[str]:
        """The overrides of a job that are not the same in all jobs."""
        return [word for word in self.words[number] if key_of(word) in self.swept]

    def said(self, number: int) -> str:
        """What to call a job in a message; empty where there is only one."""
        if len(self.words) == 1 and self.whole:
            return ""
        which = f"job {number} of {len(self.words)}" if self.whole else "a job of this sweep"
        return f"{which} ({' '.join(self.differing(number))}): "

    def together(self, faults: Sequence[tuple[int, str]]) -> str:
        """What is wrong with several jobs in one message, which has what is wrong with more than one of them once."""
        jobs: dict[str, list[int]] = {}
        for number, why in faults:
            jobs.setdefault(why, []).append(number)
        lines = []
        for why, (first, *others) in islice(jobs.items(), NAMED):
            lines.append(f"{self.said(first)}{why}")
            if others:
                names = "; ".join(" ".join(self.differing(number)) for number in others[:NAMED])
                more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
                lines.append(f"  the same: {names}{more}")
        if len(jobs) > NAMED:
            lines.append(f"and {len(jobs) - NAMED} more faults")
        return "\n".join(lines)


def key_of(word: str) -> str:
    """The key or group of an override in a list of :class:`Jobs`."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def jobs_of(given: Sequence[Override], file: Callable[[str], bool], whole: bool = True) -> Jobs:
    """All jobs of a sweep; of one with more than :data:`MOST`, or of a sweeper that looks for values itself
    (``whole=False``), the first, and those that differ from it in one ``file`` that they are made of.
    """
    values: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    swept = {}
    for override in given:
        key = override.get_key_element()
        swept[key] = override.key_or_group if override.is_sweep_override() else None
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            found = (f"{key}={value}" for value in override.sweep_string_iterator())
            values[key] = list(islice(found, MOST + 1)) or [f"{key}="]
            if file(override.key_or_group):
                groups[key] = values[key][1:] + list(found)
        else:
            whole = False
    names = tuple(name for name in swept.values() if name is not None)
    if whole and math.prod(map(len, values.values())) <= MOST:
        return Jobs([list(job) for job in product(*values.values())], True, names)
    first = {key: words[0] for key, words in values.items()}
    others = [list((first | {key: word}).values()) for key, words in groups.items() for word in words]
    return Jobs([list(first.values()), *others], False, names)
