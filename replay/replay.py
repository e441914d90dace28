"""The replay a training loop uses: records in, batches of sequences or transitions out, exactly resumable."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from replay import damage
from replay.batch import Gather, Gathers, Host, WindowGather, read
from replay.checksum import Say
from replay.damage import DamagedReplay, Known, Verify
from replay.episodes import EpisodeTracker
from replay.layout import LAYOUT_FILE, Layout, check_layout, open_folder, plan, restore_layout, take_back_folder
from replay.prefetch import Drawn, Origin, Prefetch
from replay.records import RecordCheck, RecordSpec
from replay.ring import Ring, RingGather
from replay.sampler import EpisodeIndex, Sampler, WindowSampler
from replay.storage import Stream
from replay.transitions import TransitionGather, TransitionSampler
from utils.errors import UserError

log = logging.getLogger(__name__)


class Replay:
    """Episodes of several environments on disk, bounded by ``capacity``, sampled in one of two ways.

    **Sampling.** With ``batch_length``: windows of so many records. With ``stack``: single transitions, each with the
    stacks of so many frames before and after it. See :meth:`sample`.

    **Size.** ``capacity`` counts all records on disk. Each environment has its share, cut into segment files (16 or
    more). The newest ones are live; up to 1/16 of the share (one segment at least) is slack for *retired* segments:
    evicted, no longer sampled, on disk until the checkpoint that may need them has been replaced. ``layout.nbytes``
    bounds the bytes of all segment files at any moment.

    **Checkpoints.** ``state = state_dict()``, ``flush()``, write and rename the checkpoint, ``release(state)``. The
    release deletes what had been retired when the state was taken. A retired segment thus lives for one checkpoint
    interval; if so many pile up that a new segment would exceed the bound, ``add`` calls ``make_room`` before it
    changes anything; the callback writes a checkpoint and releases. A loop can do this earlier, between two steps,
    by looking at ``checkpoint_due``. Without a callback the segments are deleted on the spot: the bound holds, and a
    checkpoint from before may no longer load (it says so).

    **Resuming.** Open the folder with the same settings, then ``load_state_dict``: everything is as the checkpoint
    knew it, bit for bit (it has the checksums of all files), later records are gone. A folder that holds records
    refuses ``add`` until ``load_state_dict`` or ``clear`` has said what is to become of them.

    **Speed.** ``prefetch``: a thread draws the next batch before it is asked for. ``ring``: the records that can be
    sampled are also on a device, where batches are gathered. Both change no batch, no state and no file.

    One thread may add while others sample. Only one process may use a folder.
    """

    def __init__(
        self,
        directory: str | Path,
        spec: RecordSpec,
        *,
        capacity: int | Layout,
        batch_size: int,
        batch_length: int | None = None,
        stack: int | None = None,
        seed: int,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        episode_length: int | None = None,
        total_records: int | None = None,
        make_room: Callable[[], None] | None = None,
        prefetch: bool = False,
        ring: torch.device | None = None,
    ) -> None:
        """Check all settings and the free disk space, then create or open ``directory``.

        ``capacity``, ``batch_length``, ``episode_length`` (the longest episode, where known) and ``total_records``
        (what each environment will write, where known: less disk may do) are in records; a record is one environment
        output, the reset included. ``stack`` is in frames; exactly one of ``batch_length`` and ``stack`` is given.
        In place of a ``capacity`` the layout of records that lie there already: see :mod:`replay.converted`.
        ``device`` is where batches go, ``ring`` where a copy of the records lives, if any.

        Raises ``UserError`` naming the key: values that cannot work, too little disk, a folder with another layout.
        """
        if batch_size <= 0:
            raise UserError(f"batch_size={batch_size} must be at least 1.")
        if seed < 0:
            raise UserError(f"seed={seed} must not be negative.")
        self.directory = Path(directory)
        if isinstance(capacity, Layout):
            self.layout = capacity
        else:
            self.layout = plan(
                spec,
                capacity=capacity,
                batch_length=batch_length,
                stack=stack,
                num_envs=num_envs,
                episode_length=episode_length,
            )
        needed = None if total_records is None else self.layout.bytes_after(total_records)
        self._new = not (self.directory / LAYOUT_FILE).exists()
        self._undecided = open_folder(self.directory, self.layout, needed)
        self.batch_size = batch_size
        self.batch_length = batch_length
        self.stack = stack
        self.make_room = make_room
        index, dtype = EpisodeIndex(num_envs), self.layout.dtype
        self._streams = [Stream(self.directory / f"stream_{env}", self.layout) for env in range(num_envs)]
        self.sampler: Sampler
        gather: Gather
        if batch_length is not None:
            self.sampler = WindowSampler(index, batch_length, seed)
            gather = WindowGather(dtype, self._streams, batch_length, device)
            needed_for = f"batch_length={batch_length}"
        else:
            assert stack is not None  # plan has seen to it
            self.sampler = TransitionSampler(index, stack, seed)
            gather = TransitionGather(dtype, self._streams, stack, device)
            needed_for = "a transition"
        self._ring = None if ring is None else Ring(self.layout, ring, total_records)
        self._gather: Gathers = gather if self._ring is None else RingGather(self._ring, gather)
        self._tracker = EpisodeTracker(index, num_envs, self.sampler.shortest, needed_for)
        self.steps = 0
        """Transitions written ever (records that are not the first of their episode)."""
        self._saved: list[int] | None = None  # first live segments in the last state_dict
        self._check = RecordCheck(dtype, num_envs)
        self._lock = threading.RLock()
        self._prefetch = Prefetch() if prefetch else None

    def __len__(self) -> int:
        """Records in the episodes that can be sampled."""
        return self.sampler.index.records

    @property
    def num_episodes(self) -> int:
        """Finished episodes that can be sampled."""
        return len(self.sampler.index)

    @property
    def ready(self) -> bool:
        """Whether :meth:`sample` has something to sample from."""
        return self.num_episodes > 0

    @property
    def total_written(self) -> int:
        """Records written ever, evicted ones included."""
        return sum(stream.cursor for stream in self._streams)

    @property
    def nbytes(self) -> int:
        """The most bytes the segment files ever take."""
        return self.layout.nbytes

    @property
    def checkpoint_due(self) -> bool:
        """Whether a checkpoint (and :meth:`release`) between two steps would soon spare a call of ``make_room``."""
        return any(stream.slot_needed_soon for stream in self._streams)

    @property
    def episodes(self) -> np.ndarray:
        """(E, 3) int64: stream, first record and length in records of every episode that can be sampled."""
        with self._lock:
            return self.sampler.index.table()

    def describe(self) -> str:
        """One line for the console: ``replay: 1,000,000 steps, 12.3 GB on disk``."""
        return self.layout.describe()

    def add(self, records: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> None:
        """Append one record per environment: arrays (num_envs, ...) for exactly the keys and dtypes of the spec.

        ``mask`` (num_envs,) bool: only these environments write. An episode starts with ``is_first`` and ends with
        ``is_last`` or ``is_terminal``; one that is cut off by the next ``is_first`` is never sampled.

        Raises ``ValueError`` for records that do not fit the spec or belong to no episode, ``UserError`` when the disk
        is full or the folder holds records nobody has asked for; no record was written then.
        """
        if self._undecided:
            raise UserError(
                f"{self.directory} already holds a replay. Continue it with resume=<run folder>, or use another folder."
            )
        envs = self._check(records, mask)
        self._tracker.check(records, envs)
        if any(self._streams[env].full and not self._streams[env].has_slot for env in envs):
            self._make_room(envs)
        with self._lock:
            for env in envs:
                if self._streams[env].full:
                    self._streams[env].open_segment()
            for env in envs:
                self._streams[env].append(records, env)
            if self._ring is not None and envs:
                self._ring.write(records, envs, [self._streams[env].cursor - 1 for env in envs])
            for env in envs:
                self.steps += int(not records["is_first"][env])
                self._tracker.written(env, self._streams[env], records)

    def sample(self) -> dict[str, torch.Tensor]:
        """A batch of tensors on the device, every key but ``physics``, with the stored dtype (images stay uint8).

        With ``batch_length``: ``batch_size`` windows, tensors (B, T, ...). An episode is drawn uniformly, then a start;
        ``is_first`` is true at index 0 of each window only.

        With ``stack``: ``batch_size`` transitions t -> t + 1, uniformly over all of all finished episodes.
        ``observation`` (B, stack + 1, ...) has the frames t - stack + 1 .. t + 1, oldest first, the first frame of the
        episode in place of those before it; the other keys, (B, ...), are those of record t + 1, whose action led from
        t to t + 1; there is no ``is_first``.

        The tensors belong to the caller. Raises ``RuntimeError`` while :attr:`ready` is false.
        """
        ahead = None if self._prefetch is None else self._prefetch.take(self._origin())
        # a ring's rows may not be overwritten before they are gathered; mapped pieces keep their segments alive
        with nullcontext() if self._ring is None else self._lock:
            host = self._accept(ahead)
            if host is None:
                host = self._draw(self.sampler, self._gather.host(self.batch_size))
            batch = self._gather.batch(host)
        if self._prefetch is not None:
            self._prefetch.begin(self._origin(), self._draw_ahead, self._gather.host(self.batch_size))
        return batch

    def _draw(self, sampler: Sampler, host: Host) -> Host:
        with self._lock:
            located = self._gather.locate(sampler.draw(self.batch_size))
        self._gather.fill(host, located)
        return host

    def _draw_ahead(self, host: Host) -> Drawn:
        """The same with a random state of its own."""
        with self._lock:
            origin, sampler = self._origin(), self.sampler.twin()
        # should episodes come or go before the draw, it is of an older version and will not be used
        return Drawn(origin, host=self._draw(sampler, host), after=sampler.state)

    def _accept(self, ahead: Drawn | None) -> Host | None:
        """What was drawn ahead, if it is what would be drawn now; the sampler has drawn it then."""
        with self._lock:
            if ahead is None or ahead.origin != self._origin():
                return None
            self.sampler.state = ahead.after
            return ahead.host

    def _origin(self) -> Origin:
        with self._lock:
            return Origin(self.sampler.state, self.sampler.index.version)

    def read(self, stream: int, start: int, length: int) -> dict[str, np.ndarray]:
        """Copy records as they were written, all keys (``physics`` too): arrays (length, ...); see :attr:`episodes`."""
        with self._lock:
            return read(self._streams[stream].window(start, length))

    def history(self, *keys: str) -> Iterator[dict[str, np.ndarray]]:
        """These keys of every episode that can be sampled, copies (L, ...) of all its records in order."""
        for stream, start, length in self.episodes:
            with self._lock:
                pieces = self._streams[stream].window(start, length)
            yield read(pieces, keys)

    def ended(self, env: int) -> dict[str, np.ndarray]:
        """Copy the records of the episode of ``env`` that ended last, as far as they can still be read; see above."""
        with self._lock:
            start, length = self._tracker.ended[env]
            first = max(start, self._streams[env].first_record)
            return self.read(env, first, start + length - first)

    def flush(self) -> None:
        """Bring all records to the disk; call it before a checkpoint that counts on them is renamed."""
        with self._lock:
            for stream in self._streams:
                stream.flush()

    def release(self, state: Mapping[str, Any] | None = None) -> None:
        """Delete the retired segments that the checkpoint with ``state`` (default: the last one taken) does not need.

        Call it when that checkpoint is on disk. If no state was ever taken, all retired segments go.
        """
        with self._lock:
            keep = self._saved if state is None else [stream["first_live"] for stream in state["streams"]]
            for env, stream in enumerate(self._streams):
                stream.release(None if keep is None else keep[env])

    def state_dict(self) -> dict[str, Any]:
        """Cursors, episodes and random state as plain values and tensors; the records stay in their files.

        A batch drawn ahead is not part of it: it is drawn again, and the same.
        """
        with self._lock:
            self._saved = [stream.first_live for stream in self._streams]
            streams = [
                {
                    "cursor": stream.cursor,
                    "first_live": stream.first_live,
                    "open": start,
                    "whole_from": whole_from,
                    "checksums": stream.checksums,
                }
                for stream, start, whole_from in zip(
                    self._streams, self._tracker.open, self._tracker.whole_from, strict=True
                )
            ]
            return {
                "layout": self.layout.to_json(),
                "streams": streams,
                "steps": self.steps,
                "episodes": torch.from_numpy(self.sampler.index.table()),
                "sampler": self.sampler.state,
            }

    def load_state_dict(self, state: Mapping[str, Any], *, verify: Verify = True, say: Say = log.info) -> None:
        """Go to where ``state`` was taken; deletes the segments it does not know.

        All files are looked at first: whether they are there and, unless ``verify`` is false, whether their records are
        those that were written; ``say`` is told how far this has come. With ``verify="drop"`` episodes that damage
        touches are left out, and what lies in the place of a segment is kept under another name.

        Raises ``UserError``, and changes nothing, if the state has another number of environments or another layout,
        :class:`DamagedReplay` if a file that it needs is gone or damaged.
        """
        saved = state["streams"]
        if len(saved) != len(self._streams):
            raise UserError(f"num_envs={len(self._streams)}, but the checkpoint has {len(saved)} streams of replay.")
        check_layout(self.directory, self.layout, state.get("layout"))
        episodes = state["episodes"].numpy()
        with self._lock:
            known = [Known.of(stream, then) for stream, then in zip(self._streams, saved, strict=True)]
            if faults := damage.examine(self._streams, known, verify, say):
                text = damage.words(faults, episodes)
                if verify != "drop":
                    raise DamagedReplay(f"The replay is damaged. {text}.", all(fault.usable for fault in faults))
                known = damage.without(faults, self._streams, known)
                episodes = episodes[~damage.touched(episodes, faults)]
                say(f"note: the replay is damaged. {text}; the others are left out, and the run goes on without them")
            if self._undecided and restore_layout(self.directory, self.layout):
                say(f"note: {self.directory} had no readable layout.json; it has one again")
            for stream, then in zip(self._streams, known, strict=True):
                stream.restore(then.cursor, then.checksums)
            self._tracker.open = [then.open for then in known]
            self._tracker.whole_from = [then.whole_from for then in known]
            self._saved = [stream.first_live for stream in self._streams]
            self.steps = state["steps"]
            # the checkpoint may have been written with a shorter batch_length
            self.sampler.index.load(episodes[episodes[:, 2] >= self.sampler.shortest])
            self.sampler.state = state["sampler"]
            self._undecided = False
            if self._ring is not None:
                self._ring.fill(self._streams)

    def clear(self) -> None:
        """Delete every record in the folder and start empty (the sampler's random state stays).

        Raises ``UserError``, and deletes nothing, if there is something in the way.
        """
        with self._lock:
            for stream in self._streams:
                damage.refuse_in_the_way(stream)
            for stream in self._streams:
                stream.clear()
            restore_layout(self.directory, self.layout)
            self._tracker.open = [None] * len(self._streams)
            self._tracker.whole_from = [0] * len(self._streams)
            self._saved = None
            self.steps = 0
            self.sampler.index.load(np.empty((0, 3), np.int64))
            self._undecided = False

    def abandon(self) -> None:
        """Take back what the constructor made; records, and files that others put in the folder, stay."""
        if not self._undecided and not self.total_written:
            take_back_folder(self.directory, self._new)

    def _make_room(self, envs: list[int]) -> None:
        if self.make_room is None:
            if self._saved is not None:
                self._saved = None
                log.warning("replay: evicted records are deleted before a new checkpoint; the old one may not resume.")
            for env in envs:
                self._streams[env].release()
            return
        self.make_room()  # not under the lock: whatever samples meanwhile need not wait for a checkpoint
        if any(self._streams[env].full and not self._streams[env].has_slot for env in envs):
            raise RuntimeError("make_room must take a state_dict, write a checkpoint and call release")
