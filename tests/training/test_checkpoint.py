"""Snapshot files: found, checked, refused with a reason."""

import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from training import checkpoint
from utils.errors import UserError


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


def write(path, **changes):
    checkpoint.save(path, "snapshot", {"agent": "dreamer", "modules": {"encoder": {"w": torch.ones(3)}}, **changes})
    return path


def test_round_trip_with_header(tmp_path):
    content = checkpoint.load(write(tmp_path / "a.pt"), "snapshot")
    assert content["format"] == checkpoint.FORMATS["snapshot"]
    assert torch.equal(content["modules"]["encoder"]["w"], torch.ones(3))
    assert content["versions"]["torch"] == torch.__version__
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_damaged_files_are_one_message_and_run_no_code(tmp_path):
    whole = write(tmp_path / "whole.pt").read_bytes()
    weights = whole.index(torch.ones(3).numpy().tobytes())
    flipped = bytearray(whole)
    flipped[weights] ^= 0xFF
    damaged = {
        "empty.pt": b"",
        "truncated.pt": whole[: len(whole) // 2],
        "flipped.pt": bytes(flipped),
        "text.pt": b"not a snapshot",
        "evil.pt": pickle.dumps(Evil()),
        "list.pt": None,
    }
    for name, data in damaged.items():
        path = tmp_path / name
        if data is None:
            torch.save([1, 2], path)
        else:
            path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            checkpoint.load(path, "snapshot")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    torch.save({"a": Evil()}, tmp_path / "evil_zip.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "evil_zip.pt", "snapshot")


def test_other_kind_and_other_format(tmp_path):
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint.load(write(tmp_path / "a.pt"), "checkpoint")
    with pytest.raises(UserError, match="has format 99"):
        checkpoint.load(write(tmp_path / "b.pt", format=99), "snapshot")


def test_a_failed_write_keeps_the_file_before(tmp_path, monkeypatch):
    path = write(tmp_path / "a.pt")
    before = path.read_bytes()

    def full(content, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_a_full_disk_is_one_message():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "atomic_path", lambda path: nullcontext(full))
        with pytest.raises(UserError, match="cannot write .*Free space"):
            checkpoint.save(Path("snapshot.pt"), "snapshot", {"w": torch.ones(1000)})
