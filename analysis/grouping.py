"""Which runs are averaged with each other, what they are called together, and what else they differ in."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from analysis.results import SNAPSHOT, VARIANT, Result
from utils.errors import UserError
from utils.rules import shown

AGENT = "agent"

NONE = "none"
"""Instead of a key: tell nothing apart."""

EITHER = {
    *("seed", "pretrain_seed", "goal_seed", "run_id", "checkpointed", "task", "domain", "resume", "experiment"),
    *("snapshot", "snapshot_dir", "snapshot_base_dir", "custom_snap_dir", "dataset_dir", "device", "progress"),
    *("project_name", "use_tb", "use_wandb", "save_video", "num_skill_videos", "save_ft_model", "snapshots", "on_nan"),
    *("checkpoint_every_minutes", "log_every_frames", "recon_every_frames", "eval_every_frames", "num_train_frames"),
    *("replay.prefetch", "replay.device", "replay.verify", "collect.workers", "collect.timeout", "agent_preset"),
    *("num_train_steps", "num_train_updates", "epochs", "eval_frequency", "log_frequency_step", "log_every_updates"),
    *("skill_video_steps", "environment_preset", "swept"),
}
"""Keys that runs may differ in and still be repetitions of each other."""

MOST_NAMED = 3


def group_keys(results: Sequence[Result], by: Sequence[str]) -> list[str]:
    """The keys that tell groups apart: those asked for; or else the agent, and what fine-tunings and the runs of a
    study differ in besides. Raises :class:`UserError` for a key that no run has.
    """
    for key in by:
        check_key("by", key, results)
    if by:
        return [key for key in dict.fromkeys(by) if key != NONE]
    return [AGENT, *(key for key in (SNAPSHOT, VARIANT) if len({value(one, key) for one in results}) > 1)]


def check_key(option: str, key: str, results: Iterable[Result]) -> None:
    """Raise :class:`UserError` for a key that no run has, with the nearest of those that there are."""
    known = {name for one in results for name in one.facts}
    if key == NONE or key in known:
        return
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [AGENT]
    raise UserError(f"{option}={key} is not known: no run has such a setting. Try {option}={near[0]}")


def value(result: Result, key: str) -> str:
    """What a run has there, as text."""
    found = result.facts.get(key)
    return "" if found is None and key == VARIANT else shown(found)


def label(result: Result, keys: Sequence[str]) -> str:
    """What a run is called by the keys that tell it apart."""
    parts = (_named(result, key) for key in keys)
    return ", ".join(part for part in parts if part) or "all runs"


def from_scratch(results: Iterable[Result]) -> bool:
    """Whether these are fine-tunings without a snapshot."""
    return all(value(one, SNAPSHOT) == "0" for one in results)


def grouped(results: Iterable[Result], name: Callable[[Result], str]) -> dict[str, list[Result]]:
    """By name, in the order in which they come."""
    found: dict[str, list[Result]] = {}
    for one in results:
        found.setdefault(name(one), []).append(one)
    return found


def by_group(results: Sequence[Result], keys: Sequence[str]) -> dict[str, list[Result]]:
    """Runs by what is compared, those from scratch first."""
    found = grouped(results, lambda one: label(one, keys))
    return dict(sorted(found.items(), key=lambda pair: not from_scratch(pair[1])))


def repetitions(groups: Mapping[str, Sequence[Result]], keys: Sequence[str]) -> list[str]:
    """What has to be said of runs that are averaged though they are no repetitions of each other."""
    notes: list[str] = []
    differing: dict[str, str] = {}
    for name, runs in groups.items():
        for key in {key for one in runs for key in one.facts} - EITHER - set(keys):
            # a setting that some runs do not know at all has come into the code since
            found = sorted({value(one, key) for one in runs if key in one.facts})
            if len(found) > 1:
                differing.setdefault(key, f"{name}: {' and '.join(found[:MOST_NAMED])}")
    names = sorted(differing)
    for key in names[:MOST_NAMED]:
        notes.append(f"runs with different {key} are averaged ({differing[key]}); by={key}, besides, keeps them apart")
    if len(names) > MOST_NAMED:
        notes.append(f"runs that are averaged differ in {', '.join(names[MOST_NAMED:])} as well")
    for name, runs in groups.items():
        seeds = [(one.task, value(one, "pretrain_seed"), value(one, "seed")) for one in runs]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice and not differing:
            task, _, seed = twice[0]
            notes.append(f"{name}: seed={seed} of {task} is there {seeds.count(twice[0])} times, as so many runs")
    return notes


def reaching(results: Sequence[Result], at: float | None) -> tuple[list[Result], list[str]]:
    """The runs that have come to frame ``at``, without what comes later, and a note on the others; all for None.

    Raises :class:`UserError` where nothing is left.
    """
    if at is None:
        return list(results), []
    early = [one for one in results if one.last < at or min(one.curve) > at]
    kept = [
        one._replace(curve={frame: value for frame, value in one.curve.items() if frame <= at})
        for one in results
        if one not in early
    ]
    if not kept:
        raise UserError(f"at={at:.0f}: no run has come so far. Set a smaller one, or leave it out.")
    return kept, [f"left out, not yet at frame {at:,.0f}: {named(early)}"] * bool(early)


def named(results: Sequence[Result]) -> str:
    """``a, b, c and 2 more``."""
    more = f" and {len(results) - MOST_NAMED} more" if len(results) > MOST_NAMED else ""
    return f"{', '.join(one.name for one in results[:MOST_NAMED])}{more}"


def ended(results: Sequence[Result], frame: float) -> str:
    """In words, which of ``results`` go no further than ``frame``."""
    found = [one for one in results if one.last == frame]
    return f"{named(found)} end{'s' * (len(found) == 1)}"


def short(frames: int) -> str:
    """``150k`` of 150000."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if frames >= size:
            return f"{frames / size:g}{unit}"
    return str(frames)


def _named(result: Result, key: str) -> str:
    found = value(result, key)
    if key in (AGENT, "task", "domain", VARIANT):
        return found
    if key == SNAPSHOT and found in ("0", "null"):  # null: of a run that is no fine-tuning
        return "from scratch" if found == "0" else ""
    if key == SNAPSHOT and found.isdecimal():
        unit = "frames" if value(result, "collection_method") in ("null", "") else "updates"
        return f"{short(int(found))} {unit} before"
    return f"{key}={found}"
