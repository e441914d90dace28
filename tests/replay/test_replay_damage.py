"""What a disk does to records is found on resume, named, and nothing is touched."""

import copy
import random
import zlib

import pytest
from damage_kit import SIZES, STEPS, flip, hit, refused, segment, tree, written
from replay_feeder import build, check_batch

from replay import checksum, files
from utils.errors import UserError


def test_a_flipped_bit_anywhere_is_found_and_named(tmp_path):
    state, _ = written(tmp_path)
    draw = random.Random(0)
    record = build(tmp_path, **SIZES).layout.dtype.itemsize
    for env, number in [(env, number) for env in range(2) for number in range(7)]:
        path, known = segment(tmp_path, env, number), (4 if number == 6 else STEPS) * record
        for position in (0, known - 1, draw.randrange(known)):
            flip(path, position)
            error = refused(tmp_path, state)
            count = int(hit(state, env, number).sum())
            last = min(100, (number + 1) * STEPS) - 1
            for part in (
                str(path),
                f"records {number * STEPS} to {last} of",
                f"environment {env}",
                f" {count} finished",
            ):
                assert part in str(error)
            assert f"{len(state['episodes']) - count} of {len(state['episodes'])} episodes" in str(error)
            assert error.usable
            flip(path, position)
    build(tmp_path, **SIZES).load_state_dict(state)


def test_what_was_not_written_yet_does_not_count(tmp_path):
    state, feeder = written(tmp_path)
    path = segment(tmp_path, 0, 6)
    flip(path, path.stat().st_size - 1)
    again = build(tmp_path, **SIZES)
    again.load_state_dict(state)
    feeder.feed(again, 100)
    check_batch(again.sample(), 4, 8)


def test_zeros_in_place_of_all_segments(tmp_path):
    state, _ = written(tmp_path)
    paths = sorted(tmp_path.rglob("segment_*.bin"))
    for path in paths:
        path.write_bytes(bytes(path.stat().st_size))
    error = refused(tmp_path, state)
    assert "0 of " in str(error) and str(paths[0]) in str(error) and f"{len(paths) - 5} more" in str(error)


@pytest.mark.parametrize("adds", [0, 5, 16, 100, 333, 500])
def test_they_are_those_of_the_files(tmp_path, adds: int):
    """Also after the replay has wrapped, and those of a run that was resumed on the way."""
    state, feeder = written(tmp_path, adds)
    for _ in range(3):
        again = build(tmp_path, **SIZES)
        again.load_state_dict(state)
        for env, stream in enumerate(state["streams"]):
            expected = []
            for number in range(stream["first_live"], -(-stream["cursor"] // STEPS)):
                known = min(STEPS, stream["cursor"] - number * STEPS) * again.layout.dtype.itemsize
                expected.append(zlib.crc32(segment(tmp_path, env, number).read_bytes()[:known]))
            assert stream["checksums"] == expected
        feeder.feed(again, 29)
        state = again.state_dict()


def test_no_file_is_read_for_them(tmp_path, monkeypatch):
    def never(*arguments):
        raise AssertionError("a file was read")

    monkeypatch.setattr(checksum, "of_file", never)
    state, _ = written(tmp_path, 500)
    build(tmp_path, **SIZES).load_state_dict(state, verify=False)


def test_not_verified_they_stay_what_they_were(tmp_path):
    state, feeder = written(tmp_path)
    flip(segment(tmp_path, 1, 2), 7)
    flip(segment(tmp_path, 0, 6), 7)  # the one being written
    again = build(tmp_path, **SIZES)
    again.load_state_dict(state, verify=False)
    feeder.feed(again, 20)
    later = again.state_dict()
    assert later["streams"][1]["checksums"][:6] == state["streams"][1]["checksums"][:6]
    error = str(refused(tmp_path, later))
    assert str(segment(tmp_path, 1, 2)) in error and str(segment(tmp_path, 0, 6)) in error


def test_a_checkpoint_from_before_there_were_any(tmp_path):
    state, feeder = written(tmp_path)
    sealed = copy.deepcopy(state)
    for stream in state["streams"]:
        del stream["checksums"], stream["whole_from"]
    del state["layout"]
    said: list[str] = []
    again = build(tmp_path, **SIZES)
    again.load_state_dict(state, say=said.append)
    assert len(said) == 2 and "14 of 14 segments" in said[0] and "no checksum" in said[0]
    assert again.state_dict() | {"episodes": 0} == sealed | {"episodes": 0}
    again.load_state_dict(state, verify=False, say=said.append)
    feeder.feed(again, 40)
    later = again.state_dict()
    assert [sums is None for sums in later["streams"][0]["checksums"]] == [True] * 7 + [False] * 2
    flip(segment(tmp_path, 0, 7), 3)
    assert str(segment(tmp_path, 0, 7)) in str(refused(tmp_path, later))


@pytest.mark.parametrize(
    ("key", "value"),
    [("checksums", [1]), ("checksums", None), ("checksums", ["a"] * 7), ("whole_from", "a"), ("whole_from", 10**9)],
)
def test_nonsense_in_a_checkpoint_is_refused(tmp_path, key: str, value: object):
    state, _ = written(tmp_path)
    state["streams"][1][key] = value
    before = tree(tmp_path)
    with pytest.raises(UserError, match=key):
        build(tmp_path, **SIZES).load_state_dict(state)
    assert tree(tmp_path) == before


def test_progress_is_said(tmp_path, monkeypatch):
    state, _ = written(tmp_path)
    again, said = build(tmp_path, **SIZES), []
    total = files.readable(200 * again.layout.dtype.itemsize)
    again.load_state_dict(state, say=said.append)
    assert len(said) == 1 and total in said[0]
    monkeypatch.setattr(checksum, "SAY_EVERY", -1.0)
    said.clear()
    again.load_state_dict(state, say=said.append)
    assert len(said) == 15 and all(total in line for line in said)
