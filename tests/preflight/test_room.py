"""What is said when a run will need more than there is: of the disks, of memory, of a GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from settings_kit import typed

from entry.settings import settings_of
from entry.start import launch
from preflight import room as module
from preflight.forecast import forecast
from preflight.room import available_memory, memory_notes, short_of
from utils.errors import UserError

SHORT = ("preset=debug", "device=cpu", "progress=false", "evaluate=false", "save_video=false")


def test_a_replay_that_does_not_fit_is_refused_as_by_the_replay(need, free, tmp_path):
    free(10**6)
    with pytest.raises(UserError, match=r"replay\.capacity=20000 needs .* 1\.0 MB are free"):
        short_of(need("preset=debug"), tmp_path / "run")


def test_what_comes_on_top_of_the_replay_is_refused_with_its_parts(need, free, tmp_path):
    found = need("preset=debug", "num_train_frames=100000", "snapshots=[1000,2000]", f"snapshot_dir={tmp_path}/snaps")
    free(found.layout.nbytes + 10)
    with pytest.raises(UserError) as refused:
        short_of(found, tmp_path / "run")
    for part in ("replay.capacity=20000", "hydra.run.dir", "2 snapshots: ", "checkpoint, twice", str(tmp_path / "run")):
        assert part in str(refused.value)


@pytest.mark.parametrize(("factor", "notes"), [(1.02, 1), (1.3, 0)])
def test_a_disk_that_gets_tight_is_a_note(need, free, tmp_path, factor, notes):
    found = need("preset=debug", "num_train_frames=100000")
    free(int(factor * found.disk))
    assert [note.startswith("disk: ") and "will be left" in note for note in module.disk_notes(found, tmp_path)] == (
        [True] * notes
    )


def test_what_a_resumed_run_holds_counts_as_free(need, free, tmp_path):
    found = need("preset=debug", "num_train_frames=100000", "snapshots=[]")
    for number in range(found.replay_files):
        path = tmp_path / "replay" / "stream_0" / f"segment_{number:08d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(found.layout.segment_bytes)
    free(3 * found.checkpoint)
    module.disk_notes(found, tmp_path)
    path.unlink()
    with pytest.raises(UserError):
        module.disk_notes(found, tmp_path)


def test_snapshots_on_another_disk_are_asked_of_that_one(need, monkeypatch, tmp_path):
    """Two disks: the run folder's has room, that of the snapshots does not."""
    found = need("preset=debug", f"snapshot_dir={tmp_path}/other", "snapshots=[1000]", "num_train_frames=2000")
    run, other = tmp_path / "run", tmp_path / "other"
    monkeypatch.setattr(module, "_by_disk", lambda need, folder: {folder: need.run_folder, other: need.snapshots})
    sizes = {run: 10**9, other: found.snapshots - 1}
    monkeypatch.setattr(module, "free_bytes", sizes.__getitem__)
    with pytest.raises(UserError, match=str(other)):
        module.disk_notes(found, run)


def test_little_memory_is_a_note_that_names_the_keys(need, monkeypatch):
    found = need("preset=debug")
    monkeypatch.setattr(module, "available_memory", lambda: found.ram - 1)
    (note,) = memory_notes(found)
    assert note.startswith("memory: ") and "batch_size" in note and "preset=small" in note
    for enough in (found.ram, None):
        monkeypatch.setattr(module, "available_memory", lambda size=enough: size)
        assert memory_notes(found) == []


def test_available_memory_is_read_from_the_kernels_table(tmp_path):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       24000 kB\nMemFree:        1000 kB\nMemAvailable:   2000 kB\n")
    assert available_memory(table) == 2_048_000
    assert available_memory(tmp_path / "none") is None


def test_folders_are_compared_by_their_disks(need, tmp_path, monkeypatch):
    found = need("preset=debug", f"snapshot_dir={tmp_path}/snaps", "snapshots=[1000]", "num_train_frames=2000")
    assert module._by_disk(found, tmp_path / "run") == {tmp_path / "run": found.disk}
    devices = {tmp_path: 1, tmp_path / "snaps": 2}
    (tmp_path / "snaps").mkdir()
    monkeypatch.setattr(Path, "stat", lambda path, **_: SimpleNamespace(st_dev=devices[path], st_mode=0o40755))
    expected = {tmp_path / "run": found.run_folder, tmp_path / "snaps": found.snapshots}
    monkeypatch.setattr(module, "_existing", lambda folder: tmp_path / "snaps" if folder.name == "snaps" else tmp_path)
    assert module._by_disk(found, tmp_path / "run") == expected


# ---- the replay's copy on a device


@pytest.fixture
def gpu(monkeypatch):
    """``gpu(free)``: two CUDA devices with so many bytes free; none otherwise."""

    def set_free(free):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free, 10**12))

    return set_free


LONG = ("preset=debug", "num_train_frames=100000")
COPY = 15 * 1250 * (3 * 64 * 64 + 6 * 4 + 4 + 2)
"""Bytes of 15 of 16 segments of 20000 steps of walker: image, action, reward, two flags."""


def test_the_replays_copy_counts_where_it_is(need):
    without, ram, vram = (need(*LONG, f"replay.device={name}") for name in ("null", "cpu", "cuda:1"))
    assert (without.ring, ram.ring, vram.ring) == (0, COPY, COPY)
    assert (ram.ram - without.ram, ram.gpu) == (COPY, 0)
    assert (vram.ram - without.ram, vram.gpu) == (0, COPY)
    assert "on the GPU" in vram.describe() and "on the GPU" not in ram.describe()
    short = need("preset=debug", "num_train_frames=2000", "replay.device=cpu")
    assert short.ring == COPY // 15  # 1001 records go into one segment


def test_the_copy_is_as_large_as_that_of_the_run(settings, tmp_path):
    config = settings("pretrain", *SHORT, "num_train_frames=1010", "snapshots=[]", "replay.device=cpu")
    run = launch(config, tmp_path / "run", "pretrain")
    held = run.replay._ring.tensors.values()
    assert (
        sum(tensor.numel() * tensor.element_size() for tensor in held)
        == forecast(settings_of("pretrain", config), "pretrain").ring
        > 0
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_copy_that_does_not_fit_the_gpu_is_refused(need, gpu, free, tmp_path, device):
    found = need(*LONG, f"replay.device={device}")
    free(10**12)
    gpu(COPY - 1)
    with pytest.raises(UserError) as caught:
        short_of(found, tmp_path / "run")
    for part in (f"replay.device={device}", "231.0 MB", "replay.device=null", "replay.capacity"):
        assert part in str(caught.value)
    gpu(COPY)
    assert short_of(found, tmp_path / "run") == []


def test_a_copy_beside_which_the_agent_does_not_fit_is_a_note(settings, gpu):
    """Agent and copy on the same GPU, however it is called."""
    gpu(COPY)
    for agent, ring, notes in (("cuda", "cuda:0", 1), ("cuda:1", "cuda", 1), ("cuda:1", "cuda:0", 0)):
        need = forecast(typed("pretrain", *LONG, f"device={agent}", f"replay.device={ring}"), "pretrain")
        found = [note for note in memory_notes(need) if "`replay.device`=" in note]
        assert len(found) == notes, (agent, ring)


def test_a_gpu_that_is_not_there_is_refused(need, settings, gpu, free, monkeypatch, tmp_path):
    free(10**12)
    gpu(10**12)
    with pytest.raises(UserError, match=r"^replay\.device=cuda:7: there are 2 CUDA devices\."):
        short_of(need(*LONG, "replay.device=cuda:7"), tmp_path / "run")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^replay\.device=cuda: .*Use replay\.device=cpu or replay\.device=null\."):
        launch(settings("pretrain", *LONG, "device=cpu", "replay.device=cuda"), tmp_path / "run", "pretrain")
    assert not list((tmp_path / "run").glob("replay"))


def test_drqs_copy_names_drqs_keys(settings, gpu, free, tmp_path):
    free(10**12)
    gpu(1000)
    config = settings("drq", "preset=debug", "device=cpu", "replay.device=cuda")
    with pytest.raises(UserError) as refused:
        launch(config, tmp_path / "run", "drq")
    assert "replay.device=cuda" in str(refused.value) and "replay_buffer_capacity" in str(refused.value)
