"""What a checkpoint holds of a replay: its schema, and whether it can be true of a layout."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import ConfigDict

from replay.layout import Layout
from utils.rules import Rule, Whole, is_int
from utils.settings import Section


def _stream(value: Any) -> bool:
    if not isinstance(value, dict) or not all(is_int(value.get(key)) for key in ("cursor", "first_live")):
        return False
    start = value.get("open")
    return 0 <= value["first_live"] <= value["cursor"] and (start is None or is_int(start))


def _sampler(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("bit_generator") != "PCG64":
        return False
    words = all(isinstance(value.get(key), str) and value[key].isdecimal() for key in ("state", "inc"))
    fits = words and all(len(value[key]) < 40 and int(value[key]) < 2**128 for key in ("state", "inc"))
    spare = value.get("has_uint32") in (0, 1) and is_int(value.get("uinteger")) and 0 <= value["uinteger"] < 2**32
    return fits and spare


class ReplayState(Section):
    """As :meth:`replay.replay.Replay.state_dict` gives it."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    streams: Annotated[
        list,
        Rule(
            "a list of streams with cursor, first_live and open",
            lambda v: isinstance(v, list) and len(v) > 0 and all(map(_stream, v)),
        ),
    ]
    steps: Whole
    episodes: Annotated[
        torch.Tensor,
        Rule(
            "a table of whole numbers, three in a row",
            lambda v: isinstance(v, torch.Tensor) and v.dtype == torch.int64 and v.ndim == 2 and v.shape[1] == 3,
        ),
    ]
    sampler: Annotated[dict, Rule("a random state", _sampler)]


def contradictions(state: Any, layout: Layout) -> list[str]:
    """What in ``state`` cannot be true of a replay with ``layout``, a line each; its types are those of the schema."""
    streams, steps = state["streams"], state["steps"]
    if len(streams) != layout.num_envs:
        return [f"it has {len(streams)} streams of replay, for num_envs={layout.num_envs}"]
    found = []
    if steps % layout.num_envs:
        found.append(f"steps={steps} of {layout.num_envs} environments")
    own = steps // layout.num_envs
    for env, stream in enumerate(streams):
        cursor, start = stream["cursor"], stream["open"]
        # a record at every step, and one at the begin of every episode, which has a step or is the last
        if not own + bool(own) <= cursor <= 2 * own + 1:
            found.append(f"cursor={cursor} of stream {env} after {own} steps")
        live = max(0, -(-cursor // layout.segment_steps) - layout.live_segments)
        if stream["first_live"] != live:
            found.append(f"first_live={stream['first_live']} of stream {env} with cursor={cursor}")
        if start is not None and not 0 <= start < cursor:
            found.append(f"open={start} of stream {env} with cursor={cursor}")
    return found or _episodes(state["episodes"].tolist(), streams, layout)


def _episodes(rows: Sequence[Sequence[int]], streams: Sequence[Any], layout: Layout) -> list[str]:
    """Episodes come stream by stream, one after the other, within the live records."""
    ends = [stream["first_live"] * layout.segment_steps for stream in streams]
    before = 0
    for env, start, length in rows:
        if not before <= env < len(streams) or length < 1 or start < ends[env]:
            return [f"an episode of stream {env} at {start} with {length} records"]
        before, ends[env] = env, start + length
        if ends[env] > streams[env]["cursor"]:
            return [f"an episode of stream {env} at {start} with {length} records"]
    return []
