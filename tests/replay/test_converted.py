"""Data sets converted once into replays: bit for bit, after kills, by two at once, noticed when they change."""

import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from exorl_kit import SIZES, data_set, episode, write

from replay import converted as module
from replay import exorl
from replay.converted import conversion, converted, default_cache, open_converted
from utils.errors import UserError

LENGTHS = [30, 25, 60, 20, 50]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(module, "TYPICAL_STEPS", 40)  # records: episodes lie across segments


def plan(source, capacity=10**6, **changes):
    return conversion(source, **{"domain": "walker", "sizes": SIZES, "capacity": capacity, **changes})


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def opened(folder, **changes):
    return open_converted(folder, **{"batch_size": 8, "batch_length": 10, "seed": 3, **changes})


def test_every_record_is_what_the_files_hold(tmp_path):
    made = data_set(tmp_path / "set", LENGTHS)
    made[1]["discount"][-1] = 0
    write(tmp_path / "set", made[1], 1)
    seen = []
    folder = converted(
        plan(tmp_path / "set", physics=True), tmp_path / "cache", progress=lambda i, n: seen.append((i, n))
    )
    assert seen == [(i, 5) for i in range(1, 6)]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]
    replay = opened(folder)
    assert (replay.num_episodes, len(replay), replay.steps) == (5, sum(LENGTHS) + 5, sum(LENGTHS))
    for arrays, (stream, start, length) in zip(made, replay.episodes.tolist(), strict=True):
        found = replay.read(stream, start, length)
        for key in ("observation", "action", "reward", "physics"):
            np.testing.assert_array_equal(found[key], arrays[key].reshape(found[key].shape))
            assert found[key].dtype == arrays[key].dtype
        np.testing.assert_array_equal(found["is_first"], [True] + [False] * (length - 1))
        np.testing.assert_array_equal(found["is_last"], [False] * (length - 1) + [True])
        np.testing.assert_array_equal(found["is_terminal"], arrays["discount"][:, 0] == 0)


def test_batches_are_windows_of_the_files(tmp_path):
    made = data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set"), tmp_path / "cache")
    rows = {
        arrays["observation"][row].tobytes(): (arrays, row) for arrays in made for row in range(len(arrays["action"]))
    }
    for prefetch in (False, True):
        batch = opened(folder, prefetch=prefetch).sample()
        assert batch.keys() == {"observation", "action", "reward", "is_first", "is_last", "is_terminal"}
        for index in range(8):
            arrays, row = rows[batch["observation"][index, 0].numpy().tobytes()]
            for key in ("observation", "action", "reward"):
                wanted = arrays[key][row : row + 10].reshape(batch[key][index].shape)
                np.testing.assert_array_equal(batch[key][index].numpy(), wanted)
        assert batch["is_first"][:, 0].all() and not batch["is_first"][:, 1:].any()
    assert opened(folder, batch_length=None, stack=1).sample()["observation"].shape == (8, 2, 5)


def test_only_the_first_files_are_converted(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set", 56), tmp_path / "cache")
    assert opened(folder).steps == 30 + 25 + 60
    assert folder != converted(plan(tmp_path / "set", 55), tmp_path / "cache")


def test_once_is_enough_and_a_change_is_noticed(tmp_path, monkeypatch):
    data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set"), tmp_path / "cache")
    before = content(folder)
    monkeypatch.setattr(module.exorl, "read_episode", None)
    assert converted(plan(tmp_path / "set"), tmp_path / "cache") == folder
    assert converted(plan(tmp_path / "set", 10**9), tmp_path / "cache") == folder
    monkeypatch.undo()
    write(tmp_path / "set", episode(25, seed=77), 1)
    other = converted(plan(tmp_path / "set"), tmp_path / "cache")
    assert other != folder and content(folder) == before
    os.utime(tmp_path / "set" / "episode_000002_60.npz", (1, 1))
    assert plan(tmp_path / "set").name not in (folder.name, other.name)


def test_relabelled(tmp_path):
    made = data_set(tmp_path / "set", LENGTHS, columns=4)
    with pytest.raises(UserError, match="episode_000000_30.npz.*relabel_task"):
        converted(plan(tmp_path / "set"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []

    def relabel(physics):
        assert physics.dtype == np.float64
        return physics.sum(axis=1).astype(np.float32)

    folder = converted(plan(tmp_path / "set", label="walker_run"), tmp_path / "cache", relabel=relabel)
    assert folder.name.startswith("walker_run_")
    replay = opened(folder)
    assert "physics" not in replay.layout.dtype.names
    for arrays, episode_ in zip(made, replay.history("reward"), strict=True):
        np.testing.assert_array_equal(episode_["reward"], relabel(arrays["physics"]))


class Killed(BaseException):
    """What no code of the project catches."""


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_killed_process_is_continued(tmp_path, monkeypatch, at):
    data_set(tmp_path / "set", LENGTHS)
    wanted = plan(tmp_path / "set")
    expected = content(converted(wanted, tmp_path / "other"))

    def kill(done, total):
        if done == at:
            raise Killed

    with pytest.raises(Killed):
        converted(wanted, tmp_path / "cache", progress=kill)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{wanted.name}.part"]
    read = []
    original = exorl.read_episode
    monkeypatch.setattr(exorl, "read_episode", lambda file, *a, **k: read.append(file) or original(file, *a, **k))
    folder = converted(wanted, tmp_path / "cache")
    assert content(folder) == expected
    assert len(read) == [5, 3, 2, 1, 0][at - 1]  # saved whenever 40 more records are full: after 31, 57, 118, 139, 190


def test_a_part_that_lost_a_file_is_begun_anew(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    wanted = plan(tmp_path / "set")
    expected = content(converted(wanted, tmp_path / "other"))

    def kill(done, total):
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        converted(wanted, tmp_path / "cache", progress=kill)
    (tmp_path / "cache" / f"{wanted.name}.part" / "stream_0" / "segment_00000001.bin").unlink()
    assert content(converted(wanted, tmp_path / "cache")) == expected


def test_two_at_once_convert_once(tmp_path, monkeypatch):
    data_set(tmp_path / "set", LENGTHS)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    read, found, said = [], [], []
    original = exorl.read_episode
    monkeypatch.setattr(exorl, "read_episode", lambda file, *a, **k: read.append(file) or original(file, *a, **k))
    waits = threading.Event()

    def second():
        def say(line):
            said.append(line)
            waits.set()

        found.append(converted(plan(tmp_path / "set"), tmp_path / "cache", say=say))

    thread = threading.Thread(target=second)

    def progress(done, total):
        if done == 1:
            thread.start()
            assert waits.wait(20)

    found.append(converted(plan(tmp_path / "set"), tmp_path / "cache", progress=progress))
    thread.join(20)
    assert found[0] == found[1] and len(read) == 5 and len(said) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [found[0].name]


def test_two_at_once_where_there_are_no_locks(tmp_path, monkeypatch):
    data_set(tmp_path / "set", LENGTHS)

    @contextmanager
    def none(path, patience):
        yield None

    monkeypatch.setattr(module, "lock_file", none)
    inner = []

    def progress(done, total):
        if done == 3:
            inner.append(converted(plan(tmp_path / "set"), tmp_path / "cache"))
            inner.append(content(inner[0]))

    folder = converted(plan(tmp_path / "set"), tmp_path / "cache", progress=progress)
    assert folder == inner[0] and content(folder) == inner[1]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_a_file_of_no_use_leaves_nothing(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    bad = tmp_path / "set" / "episode_000003_20.npz"
    bad.write_bytes(bad.read_bytes()[:-30])
    with pytest.raises(UserError, match=bad.name):
        converted(plan(tmp_path / "set"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_end_before_the_end(tmp_path):
    arrays = episode(20)
    arrays["discount"][7] = 0
    path = write(tmp_path / "set", arrays)
    with pytest.raises(UserError, match=f"{path.name}.*row 7 of 21"):
        converted(plan(tmp_path / "set"), tmp_path / "cache")


def test_a_source_that_changes_meanwhile(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    with pytest.raises(UserError, match="changed while"):
        converted(
            plan(tmp_path / "set"), tmp_path / "cache", progress=lambda i, n: write(tmp_path / "set", episode(30))
        )


def test_the_disk_is_looked_at_first(tmp_path, monkeypatch):
    data_set(tmp_path / "set", LENGTHS)
    wanted = plan(tmp_path / "set")
    monkeypatch.setattr(module.files, "free_bytes", lambda folder: wanted.nbytes - 1)
    with pytest.raises(UserError, match="1.1 MB.*SOMNIA_CACHE"):
        converted(wanted, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(module.files, "free_bytes", lambda folder: wanted.nbytes)
    folder = converted(wanted, tmp_path / "cache")
    assert sum(map(len, content(folder).values())) <= wanted.nbytes


def test_a_cache_in_the_data_set_and_one_that_cannot_be(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    (tmp_path / "file").touch()
    for cache, named in ((tmp_path / "set" / "cache", "set"), (tmp_path / "file", "file")):
        with pytest.raises(UserError, match=named):
            converted(plan(tmp_path / "set"), cache)


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SOMNIA_CACHE", str(tmp_path))
    assert default_cache() == tmp_path / "exorl"
    monkeypatch.delenv("SOMNIA_CACHE")
    assert default_cache() == Path.home() / ".cache" / "somnia" / "exorl"


def test_damage_is_found_and_mended_by_removing_the_folder(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set"), tmp_path / "cache")
    whole = content(folder)
    for name in ("stream_0/segment_00000002.bin", "converted.json", "layout.json"):
        changed = bytearray(whole[name])
        changed[10] ^= 255
        (folder / name).write_bytes(changed)
        with pytest.raises(UserError, match=f"{folder.name}.*Remove the folder"):
            opened(folder)
        (folder / name).write_bytes(whole[name])
        opened(folder)
    (folder / "stream_0" / "segment_00000002.bin").unlink()
    with pytest.raises(UserError, match="Remove the folder"):
        opened(folder)
    shutil.rmtree(folder)
    assert content(converted(plan(tmp_path / "set"), tmp_path / "cache")) == whole


def test_episodes_too_short_for_batches(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set"), tmp_path / "cache")
    assert opened(folder, batch_length=50).num_episodes == 2
    with pytest.raises(UserError, match="61 records.*100.*batch_length"):
        opened(folder, batch_length=100)


def test_a_run_that_goes_on_finds_its_place(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    folder = converted(plan(tmp_path / "set"), tmp_path / "cache")
    first = opened(folder)
    first.sample()
    state = first.state_dict()
    wanted = first.sample()
    again = opened(folder, seed=9)
    again.load_state_dict(state)
    np.testing.assert_array_equal(again.sample()["observation"].numpy(), wanted["observation"].numpy())


def test_an_export_of_held_actions_is_refused(tmp_path):
    data_set(tmp_path / "set", LENGTHS)
    exorl.write_about(tmp_path / "set", {"action_repeat": 1})
    plan(tmp_path / "set")
    exorl.write_about(tmp_path / "set", {"action_repeat": 2})
    with pytest.raises(UserError, match="action_repeat=2"):
        plan(tmp_path / "set")
