"""Which settings go with the weights of a snapshot, and whether the settings of a run do.

Agents are compared without memory: their tensors have shapes only.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agents.agent import Agent
from training.parts import agent_class, outline_agent
from training.pretrained import SAME_MEANING, Pretrained
from training.restored import has_foreign_agent, misfit
from training.settings import OffPolicyKeys, SourceKeys
from utils.advice import in_hydra, override
from utils.config import get, has, put
from utils.errors import UserError
from utils.own_code import PACKAGES
from utils.rules import is_int
from utils.settings import SettingError, keys_of, parse, pick

FRAMES = ("image_size", "action_repeat", "dataset")
"""Keys of the environment that have to be the same, and that a run can have as the snapshot has them."""

SAME_ENVIRONMENT = ("obs_type", *FRAMES)
"""All that have to be the same."""

NOT_SHAPES = ("agent.name", "domain", "num_seed_frames", *PACKAGES)
"""Keys of an agent's schema that say which agent it is and when it begins, not how large it is."""

MOST_NAMED = 6
"""Keys that a message names besides the preset; where more differ, it is the preset."""


def stored_settings(content: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot's task, and the settings that its weights need where they are others in ``base``.

    ``base`` is a plain configuration by internal keys, and so is what is returned.
    """
    before = content["config"]
    keys = [key for key in (*FRAMES, *SAME_MEANING) if _apart(before, base, key)]
    found = {key: get(before, key) for key in ("task", *keys)} | _shaping(content, base)
    return {key: value for key, value in found.items() if _is_value(value)}


def check_fits(source: Pretrained, settings: OffPolicyKeys, chosen: Mapping[str, str]) -> None:
    """Raise :class:`SettingError`, with the keys, both values and the fix, where a run with these settings cannot start
    from ``source``. ``chosen`` are the run's files of configuration groups.
    """
    before, now = source.content["config"], settings.plain()
    if settings.env_factory is None:
        check_domain(source, settings.task, settings.domain)
    for key in SAME_ENVIRONMENT:
        if _apart(before, now, key):
            then = get(before, key)
            kind = before.get("choices", {}).get("configs") if key == "obs_type" else None
            fix = f"`{key}`={in_hydra(then)}" if kind is None else override("configs", kind)
            raise SettingError(
                f"`{key}`={get(now, key)}: {source.path} was made with `{key}`={then}. Set {fix}, or name another "
                "snapshot."
            )
    if has_foreign_agent(now):  # shown what its constructor raises when it is built
        return
    assert isinstance(settings, SourceKeys)
    flags = {"init_actor": settings.init_actor, "init_critic": settings.init_critic}
    if (error := _refusal(source.content, now, flags)) is not None:
        raise SettingError(
            _told(source, now, chosen, error, lambda config: not _refusal(source.content, config, flags))
        )


def check_domain(source: Pretrained, task: str, domain: str) -> None:
    """Raise :class:`SettingError` where ``task`` is one of the suite on another body than the snapshot's."""
    before = source.content["config"]
    if before.get("env_factory") is None and before["domain"] != domain:
        raise SettingError(
            f"`task`={task} is of domain={domain}, and {source.path} was made on domain={before['domain']}. "
            f"Name a task of {before['domain']}, or another snapshot."
        )


def _told(
    source: Pretrained,
    now: Mapping[str, Any],
    chosen: Mapping[str, str],
    error: UserError,
    fits: Callable[[Mapping[str, Any]], bool],
) -> str:
    """What to say of weights that do not fit: the settings that are to blame, now and then."""
    before = source.content["config"]
    choices = before.get("choices", {})
    then = choices.get("preset", choices.get("drq_preset"))
    preset = then is not None and then != chosen.get("preset", then)
    blamed = list(_to_blame(source.content, now, fits))
    if len(blamed) > MOST_NAMED:
        blamed = [] if preset else blamed[:MOST_NAMED]
    if not (preset or blamed):
        return f"{source.path} does not fit: {error}"
    first = [[f"preset={chosen['preset']}"], [f"preset={then}"]] if preset else [[], []]
    has_now, has_then = (
        " ".join([*words, *(_word(key, get(config, key)) for key in blamed)])
        for words, config in zip(first, (now, before), strict=True)
    )
    return f"{has_now} does not fit {source.path}. Set what that was made with: {has_then}"


def _shaping(content: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the agent on which the shapes of a snapshot's tensors depend, where they differ in ``base``."""
    keys = _to_blame(content, base, lambda config: _same_shapes(content, config))
    return {key: get(content["config"], key) for key in keys}


def _to_blame(
    content: Mapping[str, Any], now: Mapping[str, Any], fits: Callable[[Mapping[str, Any]], bool]
) -> Iterator[str]:
    """Of the agent's settings that are others ``now``, those with which alone it would not fit."""
    before = content["config"]
    schema = agent_class(now["agent"]["_target_"]).schema(now["agent"])
    keys = [key for key in keys_of(schema) if key not in NOT_SHAPES and _apart(before, now, key)]
    keys = [key for key in keys if not isinstance(get(before, key), float | Mapping)]  # rates, and sections
    meant = _changed(now, {key: get(before, key) for key in keys})
    for key in keys:
        if not fits(_changed(meant, {key: get(now, key)})):
            yield key


def _same_shapes(content: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the agent of ``config`` has the networks that the snapshot holds."""
    try:
        made = _outline(content, config, content["phase"]).snapshot_modules()
        return misfit(content["modules"], {name: part for name, part in made.items() if not _is_choice(name)}) is None
    except Exception:  # whatever a constructor raises for sizes that are none, or without values in its tensors
        return False


def _is_choice(part: str) -> bool:
    """Whether a part of a snapshot is what was seen of the skills, to choose one: no run takes it from another."""
    return part.endswith("skills")


def _refusal(content: Mapping[str, Any], config: Mapping[str, Any], flags: Mapping[str, bool]) -> UserError | None:
    """What an agent with the settings of ``config`` says that is to start from the snapshot; None where it does."""
    try:
        agent = _outline(content, config, "finetune")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing is copied
            agent.load_snapshot(content["modules"], **flags)  # type: ignore[arg-type]
    except UserError as error:
        return error
    except Exception:  # as when it is built
        return None
    return None


def _outline(content: Mapping[str, Any], config: Mapping[str, Any], phase: Any) -> Agent:
    domain = {"domain": content["config"]["domain"]}  # a configuration may leave it to the task
    schema = agent_class(config["agent"]["_target_"]).schema(config["agent"])
    spec = content["spec"]
    shape, action_dim = tuple(spec["observation"][0]), spec["action"][0][0]
    return outline_agent(parse(schema, pick(schema, {**config, **domain})), shape, action_dim, phase)


def _is_value(value: Any) -> bool:
    """Whether a setting of a file is of a type that sizes and choices have: no section, no texts in a list."""
    return all(map(is_int, value)) if isinstance(value, list) else not isinstance(value, Mapping)


def _apart(before: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    return has(before, key) and has(now, key) and get(before, key) != get(now, key)


def _changed(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(config))
    for key, value in values.items():
        put(changed, key, value)
    return changed


def _word(key: str, value: Any) -> str:
    text = f"`{key}`={in_hydra(value)}"
    return f'"{text}"' if isinstance(value, list) else text
