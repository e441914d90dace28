"""The copy of the replay on a device: its size, how it grows and how it is filled again."""

import logging

import pytest
import torch
from replay_feeder import SPEC, Feeder, build, check_batch

from replay import plan, ring
from replay.ring import Ring, ring_bytes

CPU = torch.device("cpu")
RECORD = 3 * 2 * 2 + 2 * 4 + 4 + 1 + 1 + 3 * 4 + 1
"""Bytes of a record without ``physics`` and ``is_first``."""


def tensor_bytes(copy: Ring) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in copy.tensors.values())


@pytest.mark.parametrize(("total", "segments"), [(None, 15), (1, 1), (16, 1), (17, 2), (10_000, 15)])
def test_it_holds_what_can_be_sampled_or_will_be_written(total, segments):
    layout = plan(SPEC, capacity=512, batch_length=8, num_envs=2)
    assert (layout.segment_steps, layout.live_segments) == (16, 15)
    assert ring_bytes(layout, total) == 2 * 16 * segments * RECORD
    copy = Ring(layout, CPU, total)
    assert tensor_bytes(copy) == ring_bytes(layout, total)
    assert copy.tensors.keys() == SPEC.keys() - {"physics", "is_first"}


def test_more_records_than_were_expected_make_it_grow_to_all_that_can_be_sampled(tmp_path):
    replay, feeder = build(tmp_path, ring=CPU, total_records=30), Feeder([20])
    sizes = set()
    for _ in range(40):
        feeder.feed(replay, 20)
        check_batch(replay.sample(), 4, 8)
        sizes.add(replay._ring.steps)
    assert sizes == {32, 64, 128, 240}
    assert tensor_bytes(replay._ring) == ring_bytes(replay.layout)


@pytest.mark.parametrize("chunk", [5, 16, 1024])
@pytest.mark.parametrize("records", [7, 100, 700])
def test_it_is_filled_from_the_files(tmp_path, monkeypatch, chunk, records):
    monkeypatch.setattr(ring, "CHUNK", chunk)
    replay, feeder = build(tmp_path, capacity=512, num_envs=2), Feeder([20, 35], 2)
    feeder.feed(replay, records)
    again = build(tmp_path, capacity=512, num_envs=2, ring=CPU, total_records=30)
    again.load_state_dict(replay.state_dict())
    for env, stream in enumerate(replay._streams):
        assert stream.cursor == records
        for number in range(stream.first_record, records):
            expected = replay.read(env, number, 1)
            for key, tensor in again._ring.tensors.items():
                assert (tensor[number % again._ring.steps, env].numpy() == expected[key][0]).all()
    feeder.feed(again, 60)
    check_batch(again.sample(), 4, 8)


@pytest.mark.parametrize(("patience", "lines"), [(-1.0, 1), (60.0, 0)])
def test_a_long_fill_is_said_in_one_line(tmp_path, monkeypatch, caplog, patience, lines):
    monkeypatch.setattr(ring, "SAY_AFTER", patience)
    monkeypatch.setattr(ring, "CHUNK", 10)
    replay = build(tmp_path)
    Feeder([20]).feed(replay, 100)
    again = build(tmp_path, ring=CPU)
    with caplog.at_level(logging.WARNING):
        again.load_state_dict(replay.state_dict())
    said = [line for line in caplog.messages if line.startswith("replay: copying the records from the files to cpu")]
    assert len(said) == lines


def test_a_batch_is_the_callers(tmp_path):
    replay, feeder = build(tmp_path, ring=CPU), Feeder([30])
    feeder.feed(replay, 90)
    batch = replay.sample()
    for value in batch.values():
        value.zero_()
    for _ in range(5):
        check_batch(replay.sample(), 4, 8)


def test_the_files_are_not_read_to_sample(tmp_path, monkeypatch):
    """Nothing of a batch comes from them: they can be overwritten without it being noticed."""
    replay, feeder = build(tmp_path, ring=CPU), Feeder([30])
    feeder.feed(replay, 90)
    for segment in replay._streams[0]._mapped.values():
        segment.file.view("u1")[:] = 255
    check_batch(replay.sample(), 4, 8)


def test_main_memory_gets_its_batch_at_once_and_a_device_later(tmp_path, monkeypatch):
    """A copy that nobody waits for is in order on a device; on the CPU it would be read before it is there."""
    replay, cuda = build(tmp_path, ring=CPU), torch.device("cuda", 1)
    Feeder([30]).feed(replay, 90)
    gather = replay._gather
    host = gather.host(4)
    gather.fill(host, gather.locate(replay.sampler.draw(4)))
    gather.ring.device, moves = cuda, []
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking=False: moves.append((device, non_blocking)) or self
    )
    for target, later in ((CPU, False), (cuda, True)):
        gather.gather.device = target
        moves.clear()
        batch = gather.batch(host)
        assert moves == [(cuda, True), *[(target, later)] * len(batch)]
