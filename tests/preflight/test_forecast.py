"""What a run will need, against what runs and agents really take, and what is said when it is not there."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from entry.start import launch
from envs.make import PRIMAL_TASKS, TASKS, make
from preflight import drq_settings
from preflight import forecast as module
from preflight.forecast import HEADER_BYTES, activations, available_memory, forecast, memory_notes, short_of
from preflight.settings import check
from replay.records import record_dtype
from training import parts
from utils.config import CONFIGS
from utils.errors import UserError

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
SHORT = ("preset=debug", "device=cpu", "progress=false", "evaluate=false", "save_video=false")


@pytest.fixture
def need(settings):
    """``need("preset=debug", ...)`` -> forecast of a pre-training."""
    return lambda *overrides: forecast(check(settings("pretrain", "device=cpu", *overrides)))


@pytest.fixture
def free(monkeypatch):
    """``free(10**9)``: every disk has that many bytes free."""

    def set_free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))

    return set_free


def tensor_bytes(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(tensor_bytes(item) for item in items)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("agent", AGENTS)
def test_sizes_are_those_of_the_agent_that_is_built(settings, monkeypatch, agent, phase):
    config = check(settings(phase, f"agent={agent}", "preset=debug", "device=cpu"))
    real = parts.build_agent(config, (3, 64, 64), 6, phase, torch.device("cpu"))
    devices = []

    def recording(*arguments):
        devices.append(arguments[-1].type)
        return parts.build_agent(*arguments)

    monkeypatch.setattr(module, "build_agent", recording)
    before = torch.get_rng_state()
    found = forecast(config)
    assert torch.equal(torch.get_rng_state(), before)
    assert devices == ["meta"]
    assert found.state == tensor_bytes(real.training_state())
    assert found.snapshot == tensor_bytes(real.snapshot_modules()) + HEADER_BYTES
    assert found.gradients == sum(4 * p.numel() for p in real.parameters() if p.requires_grad)
    assert found.own_snapshots == (1 if phase == "finetune" else 0)
    assert found.run_folder == found.replay + 2 * found.checkpoint + found.own_snapshots * found.snapshot


@pytest.mark.parametrize(
    "overrides", [(), ("num_skills=0",), ("discriminator_features=critic",), ("framestack=2", "skill_critic=false")]
)
def test_sizes_are_those_of_drq(settings, monkeypatch, overrides):
    config = drq_settings.check(settings("drq", "drq_preset=debug", "device=cpu", *overrides))
    real = parts.build_agent(config, (3, 32, 32), 1, "pretrain", torch.device("cpu"))
    devices = []

    def recording(*arguments):
        devices.append(arguments[-1].type)
        return parts.build_agent(*arguments)

    monkeypatch.setattr(module, "build_agent", recording)
    found = forecast(config)
    assert devices == ["meta"]
    assert found.state == tensor_bytes(real.training_state())
    assert found.snapshot == tensor_bytes(real.snapshot_modules()) + HEADER_BYTES
    assert found.gradients == sum(4 * p.numel() for p in real.parameters() if p.requires_grad)


def test_files_of_a_run_of_drq_are_as_large_as_forecast(settings, tmp_path):
    """More than one segment, a model at step 0, two between, and the last."""
    config = settings("drq", "drq_preset=debug", "device=cpu", "progress=false", "save_video=false")
    config |= {"num_train_steps": 510, "num_seed_steps": 505, "eval_frequency": 250, "num_skills": 2}
    found = forecast(drq_settings.check(config))
    launch(config, tmp_path / "run", "drq")
    segments = list((tmp_path / "run" / "replay").glob("stream_*/segment_*.bin"))
    assert found.replay == sum(path.stat().st_size for path in segments)
    assert found.replay_files == len(segments) > 1
    models = [path.stat().st_size for path in (tmp_path / "run" / "models").iterdir()]
    assert found.own_snapshots == len(models) == 4
    assert all(found.snapshot - HEADER_BYTES < size <= found.snapshot for size in models)
    assert found.run_folder == found.replay + 2 * found.checkpoint + 4 * found.snapshot == found.disk
    size = (tmp_path / "run" / "checkpoint.pt").stat().st_size
    assert found.checkpoint - HEADER_BYTES < size <= found.checkpoint


@pytest.mark.parametrize(("stack", "channels"), [(1, 4), (2, 6), (3, 9)])
def test_activations_of_drq_by_hand(settings, stack, channels):
    """Images of 19 px: sides 9, 7, 5, 3 after the convolutions. Of critic, actor and discriminator the critic is the
    largest; channels that are as many as those of the stack of frames begin no image anew.
    """
    sizes = {"render_size": 19, "framestack": stack, "encoder_channels": channels, "encoder_feature_dim": 8}
    sizes |= {"critic_hidden_dim": 32, "actor_hidden_dim": 7, "discriminator_hidden_dim": 5, "critic_hidden_depth": 1}
    config = drq_settings.check(settings("drq", "num_skills=3", "skill_embedding_dim=2", "device=cpu") | sizes)
    agent = parts.build_agent(config, (3, 19, 19), 6, "pretrain", torch.device("cpu"))
    image, maps = 3 * stack * 19**2, channels * (9**2 + 7**2 + 5**2 + 3**2)
    convolutions = image + 2 * maps - channels * 3**2
    critic = convolutions + (channels * 3**2 + 8) + 2 * ((8 + 2 + 6 + 32) + (32 + 1))
    assert activations(agent, config) == 4 * 2 * 128 * (2 * image + critic)


def test_a_larger_discriminator_counts(settings):
    """Half the batch is half the memory, and networks that are trained one after the other do not add up."""
    base = settings("drq", "drq_preset=debug", "device=cpu")

    def bytes_of(**changes):
        return forecast(drq_settings.check(base | changes)).activations

    assert bytes_of(batch_size=16) == 2 * bytes_of(batch_size=8)
    assert bytes_of(discriminator_hidden_dim=15) == bytes_of() < bytes_of(discriminator_hidden_dim=4000)


def test_an_agent_that_reads_tensors_while_it_is_built_is_built_on_the_cpu(need, monkeypatch):
    devices = []

    def reading(config, shape, action, phase, device):
        devices.append(device.type)
        float(torch.zeros(1))  # raises on meta
        return parts.build_agent(config, shape, action, phase, device)

    expected = need("preset=debug").state
    monkeypatch.setattr(module, "build_agent", reading)
    before = torch.get_rng_state()
    assert need("preset=debug").state == expected
    assert devices == ["meta", "cpu"]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "task", [*PRIMAL_TASKS.values(), "cartpole_three_poles", "quadruped_fetch", "stacker_stack_4", "swimmer_swimmer15"]
)
def test_a_record_is_that_of_the_environment(settings, task):
    """Of every domain, and of tasks whose body differs from that of their domain's primal one."""
    domain = next(domain for domain, tasks in TASKS.items() if task in tasks)
    choices = ("agent=deviation_dreamer", "agent.explor_rate=0.01", "preset=debug")
    config = check(settings("pretrain", f"domain={domain}", f"task={task}", *choices))
    env = make(task, render_quality="lite")
    space = env.observation_space["observation"]
    actions, state = env.action_space.shape[0], env.unwrapped.physics.get_state()
    spec = parts.record_spec(config, space.shape, space.dtype, actions, config["agent"]["skill_dim"], len(state))
    assert forecast(config).layout.dtype == record_dtype(spec)
    env.close()


def test_files_of_a_run_are_as_large_as_forecast(settings, tmp_path):
    """The replay exactly; checkpoint and snapshot within what is set aside for their headers."""
    folder = tmp_path / "snapshots"
    config = settings(
        "pretrain",
        *SHORT,
        "agent=diayn_dreamer",
        "num_envs=2",
        "num_train_frames=3000",
        "snapshots=[1000,9000]",
        "num_seed_frames=2980",
        "replay.capacity=3200",
        f"snapshot_dir={folder}",
    )
    found = forecast(check(config))
    launch(config, tmp_path / "run", "pretrain")
    segments = list((tmp_path / "run" / "replay").glob("stream_*/segment_*.bin"))
    assert found.replay == sum(path.stat().st_size for path in segments) < found.layout.nbytes
    assert found.replay_files == len(segments)
    assert found.marks == (1000,)
    (snapshot,) = folder.iterdir()
    for path, expected in ((tmp_path / "run" / "checkpoint.pt", found.checkpoint), (snapshot, found.snapshot)):
        assert expected - HEADER_BYTES < path.stat().st_size <= expected


def test_the_replay_of_a_long_run_is_the_full_one(need):
    full = need("preset=debug", "num_train_frames=100000")
    assert full.replay == full.layout.nbytes
    short = need("preset=debug", "num_train_frames=2000")  # 1000 steps and a reset record per 500: 1002 records
    assert short.replay_files == -(-1002 // short.layout.segment_steps)


def test_sums(need, tmp_path):
    found = need("preset=debug", "snapshots=[1000,2000]", "num_train_frames=2000")
    assert found.run_folder == found.replay + 2 * found.checkpoint
    assert found.disk == found.run_folder + 2 * found.snapshot
    assert found.learner == 2 * found.state + found.gradients + found.activations
    assert found.ram == module.PROCESS_BYTES + found.learner and found.gpu == 0


def test_on_a_gpu_the_learner_takes_its_memory(need, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = need("preset=debug", "device=auto")
    assert found.gpu == found.learner and found.ram == module.CUDA_PROCESS_BYTES


@pytest.mark.parametrize(
    ("overrides", "workers"),
    [
        ((), 0),
        (("num_envs=3",), 3),
        (("num_envs=3", "collect.workers=false"), 0),
        (("collect.workers=true",), 1),
        (("collect.async=true",), 1),
    ],
)
def test_environments_in_processes_of_their_own_take_memory(need, overrides, workers):
    found = need("preset=debug", *overrides)
    assert found.workers == workers
    assert found.ram == module.PROCESS_BYTES + found.learner + workers * module.WORKER_BYTES


def test_activations_by_hand():
    """Two convolutions on an image of 8 px, and a behaviour of one layer that is imagined 5 times."""
    agent = torch.nn.ModuleDict(
        {
            "encoder": torch.nn.Sequential(torch.nn.Conv2d(3, 2, 4, 2), torch.nn.Conv2d(2, 4, 3, 2)),
            "drive": torch.nn.ModuleDict({"behavior": torch.nn.ModuleDict({"actor": torch.nn.Linear(10, 6)})}),
        }
    )
    config = {"batch_size": 2, "batch_length": 3, "image_size": 8, "imag_horizon": 5}
    encoder = (3 * 8 * 8 + 2 * 3 * 3) + (2 * 3 * 3 + 4 * 1 * 1)
    assert activations(agent, config) == 4 * 6 * (encoder + 16)
    assert activations(agent, config | {"imag_horizon": 100}) == 4 * 6 * 100 * 16


def test_activations_of_a_decoder_by_hand():
    """A single pixel of 32 numbers becomes 5 px, then 13 px."""
    agent = torch.nn.Sequential(torch.nn.ConvTranspose2d(32, 4, 5, 2), torch.nn.ConvTranspose2d(4, 3, 5, 2))
    config = {"batch_size": 1, "batch_length": 2, "image_size": 64, "imag_horizon": 5}
    assert activations(agent, config) == 4 * 2 * ((32 + 4 * 25) + (4 * 25 + 3 * 169))


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


def test_snapshots_go_to_the_run_folder_without_another(settings, tmp_path):
    found = forecast(check(settings("finetune", "preset=debug", "device=cpu", "snapshots=[1000]", "snapshot_ts=0")))
    assert found.snapshot_dir is None
    assert found.run_folder == found.disk == found.replay + 2 * found.checkpoint + 2 * found.snapshot


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
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == forecast(check(config)).ring > 0


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
        config = settings("pretrain", *LONG, f"device={agent}", f"replay.device={ring}")
        found = [note for note in memory_notes(forecast(check(config))) if "replay.device=" in note]
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


def test_drqs_copy_names_drqs_keys(settings, gpu):
    gpu(1000)
    config = drq_settings.check(settings("drq", "drq_preset=debug", "device=cpu", "replay.device=cuda"))
    with pytest.raises(UserError, match=r"replay\.device=cuda: .* or lower replay_buffer_capacity\.$"):
        memory_notes(forecast(config))
