"""Snapshot files: found, checked, refused with a reason."""

import pickle
import random
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from contents_kit import CONFIG, SPEC, resumable, snapshot
from contents_kit import write_snapshot as write

from analysis import describe
from training import checkpoint
from utils.errors import UserError
from utils.seal import seal


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_round_trip_with_header(tmp_path):
    content = checkpoint.load(write(tmp_path / "a.pt"), "snapshot")
    assert content["format"] == checkpoint.FORMATS["snapshot"][-1]
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
        patch.setattr(checkpoint, "atomic_path", lambda path, put: nullcontext(full))
        with pytest.raises(UserError, match="cannot write .*Free space"):
            checkpoint.save(Path("snapshot.pt"), "snapshot", {"w": torch.ones(1000)})


# ---- files that are not what they should be


def test_files_from_before_the_checksum_can_be_read_and_newer_ones_must_have_it(tmp_path):
    content = torch.load(write(tmp_path / "new.pt"), weights_only=True)
    old, stripped = tmp_path / "old.pt", tmp_path / "stripped.pt"
    torch.save(content | {"format": 1}, old)
    assert checkpoint.load(old, "snapshot")["format"] == 1
    torch.save(content, stripped)
    with pytest.raises(UserError, match="its checksum is gone"):
        checkpoint.load(stripped, "snapshot")
    torch.save(content | {"format": 0, "commit": "abc123"}, old)
    with pytest.raises(UserError, match=r"format 0\b.*abc123"):
        checkpoint.load(old, "snapshot")


def pickled(path: Path, marker: Path) -> list[Path]:
    """Files that would make ``marker`` if any of their code ran, in every form a pickle may come in."""
    call = Call(f"open({str(marker)!r}, 'w').close()")
    plain, legacy, archive, hidden = (path.with_name(f"{path.stem}_{n}.pt") for n in range(4))
    plain.write_bytes(pickle.dumps({"kind": "snapshot", "format": 1, "x": call}))
    torch.save({"kind": "snapshot", "format": 1, "x": call}, legacy, _use_new_zipfile_serialization=False)
    torch.save({"kind": "snapshot", "format": 1, "x": call}, archive)
    torch.save({"kind": "snapshot", "format": 2, "modules": {"encoder": {"w": call}}}, hidden)
    seal(hidden)  # with a checksum that is right
    return [plain, legacy, archive, hidden]


class Call:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return (exec, (self.code,))


def mutated(whole: bytes, draw: random.Random) -> bytes:
    """Cut, bits flipped, bytes lost, doubled, zeroed, appended or exchanged."""
    data, at = bytearray(whole), draw.randrange(len(whole))
    kind = draw.choice(["cut", "flip", "flip", "flip", "lose", "double", "zero", "append", "swap"])
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        for _ in range(draw.choice([1, 1, 1, 8])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == "lose":
        del data[at : at + draw.randint(1, 64)]
    elif kind == "double":
        data[at:at] = data[at : at + 16] or b"\0"
    elif kind == "zero":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    elif kind == "append":
        data += draw.randbytes(draw.randint(1, 64))
    else:
        other = draw.randrange(len(data))
        data[at], data[other] = data[other], data[at]
    return bytes(data)


def test_300_mutated_files_are_one_message_each_and_run_no_code(tmp_path):
    tensors = {"weight": torch.randn(40, 30), "bias": torch.randn(40), "count": torch.tensor(3)}
    whole = write(
        tmp_path / "whole.pt", modules={"encoder": tensors}, frame=7, config=CONFIG | {"a": [1, 2]}
    ).read_bytes()
    marker, path = tmp_path / "code_was_run", tmp_path / "file.pt"
    files = pickled(tmp_path / "evil.pt", marker)
    draw, seen = random.Random(0), {whole}
    while len(seen) < 300:
        seen.add(mutated(whole, draw))
    for data in [b"", *sorted(seen - {whole})]:
        path.write_bytes(data)
        assert refused(path)
    assert all(refused(path) for path in files)
    assert not marker.exists()
    exec(Call(f"open({str(marker)!r}, 'w').close()").code)
    assert marker.exists()  # it would have been


def refused(path: Path) -> bool:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path, "snapshot")
    message = str(caught.value)
    return str(path) in message and "\n" not in message and "\x1b" not in message and len(message) < 400


@pytest.mark.parametrize("what", ["text", "folder", "checkpoint", "link", "list", "of an earlier version"])
def test_whatever_lies_where_a_snapshot_is_to_go_is_kept(tmp_path, what):
    path, kept = tmp_path / "snapshot_10.pt", tmp_path / "previous_1_snapshot_10.pt"
    payload = snapshot(run="a", run_id="1")
    if what == "folder":
        (path / "notes").mkdir(parents=True)
    elif what == "link":
        path.symlink_to("nowhere")
    elif what == "text":
        path.write_text("mine")
    elif what == "list":
        torch.save([1], path)
    else:
        checkpoint.save(path, "checkpoint", resumable(run="a", **({"run_id": "2"} if what == "checkpoint" else {})))
    before = path.read_bytes() if path.is_file() else None
    assert checkpoint.publish(path, payload) == kept
    assert checkpoint.load(path, "snapshot")["run_id"] == "1"
    assert kept.read_bytes() == before if before else (kept / "notes").is_dir() or kept.is_symlink()
    assert checkpoint.publish(path, payload) is None  # its own
    assert {each.name for each in tmp_path.iterdir()} == {path.name, kept.name}


def test_show_prints_origin_contents_and_configuration(tmp_path, capsys, monkeypatch):
    path = write(
        tmp_path / "a.pt",
        frame=4000,
        run="exp_local/x",
        config=CONFIG | {"seed": 3, "rssm": {"deter": 200}},
        spec=SPEC,
        lineage=[{"path": "pt/snapshot_2000.pt", "agent": "dreamer", "frame": 2000, "commit": "abc", "run": "exp"}],
    )
    monkeypatch.setattr(sys, "argv", ["describe", str(path)])
    assert describe.main() == 0
    out = capsys.readouterr().out
    for line in ("kind         snapshot", "frame        4000", "  deter: 200"):
        assert line in out.splitlines()
    assert "pt/snapshot_2000.pt: agent=dreamer, frame 2000, commit abc" in out
    assert "encoder" in out and "12 B" in out and "torch" in out
    monkeypatch.setattr(sys, "argv", ["describe", str(tmp_path / "none.pt")])
    assert describe.main() == 1
    assert "none.pt does not exist" in capsys.readouterr().err


def test_a_run_stopped_among_the_updates_of_a_step_owes_less_than_none(tmp_path):
    counters = {"step": 0, "episode": 0, "updates": 0, "updates_owed": -3}
    checkpoint.save(tmp_path / "a.pt", "checkpoint", resumable(counters=counters))
    assert checkpoint.load(tmp_path / "a.pt", "checkpoint")["counters"]["updates_owed"] == -3
