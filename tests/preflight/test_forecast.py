"""What a run will need, against what runs and agents really take, and what is said when it is not there."""

import pytest
import torch
from settings_kit import typed
from sweep_kit import in_turn

from agents.dreamer.footprint import activation_bytes
from entry.settings import settings_of
from entry.start import launch
from envs.make import PRIMAL_TASKS, TASKS, make
from preflight import forecast as module
from preflight.forecast import HEADER_BYTES, forecast
from replay.records import record_dtype, record_spec
from training import parts
from training.parts import build_agent
from utils.config import CONFIGS

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
SHORT = ("preset=debug", "device=cpu", "progress=false", "evaluate=false", "save_video=false")


def tensor_bytes(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(tensor_bytes(item) for item in items)


@pytest.mark.parametrize(("agent", "phase"), in_turn(AGENTS, ("pretrain", "finetune")))
def test_sizes_are_those_of_the_agent_that_is_built(settings, monkeypatch, agent, phase):
    config = typed(phase, f"agent={agent}", "preset=debug", "device=cpu")
    real = parts.build_agent(config, (3, 64, 64), 6, phase, torch.device("cpu"))
    devices = []

    def recording(*arguments):
        devices.append(arguments[-1].type)
        return build_agent(*arguments)

    monkeypatch.setattr(parts, "build_agent", recording)
    before = torch.get_rng_state()
    found = forecast(config, phase)
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
    config = typed("drq", "preset=debug", "device=cpu", *overrides)
    real = parts.build_agent(config, (3, 32, 32), 1, "pretrain", torch.device("cpu"))
    devices = []

    def recording(*arguments):
        devices.append(arguments[-1].type)
        return build_agent(*arguments)

    monkeypatch.setattr(parts, "build_agent", recording)
    found = forecast(config, "pretrain")
    assert devices == ["meta"]
    assert found.state == tensor_bytes(real.training_state())
    assert found.snapshot == tensor_bytes(real.snapshot_modules()) + HEADER_BYTES
    assert found.gradients == sum(4 * p.numel() for p in real.parameters() if p.requires_grad)


def test_files_of_a_run_of_drq_are_as_large_as_forecast(settings, tmp_path):
    """More than one segment, a model at step 0, two between, and the last."""
    config = settings("drq", "preset=debug", "device=cpu", "progress=false", "save_video=false")
    config |= {"num_train_steps": 510, "num_seed_steps": 505, "eval_frequency": 250, "num_skills": 2}
    found = forecast(settings_of("drq", config), "pretrain")
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
    config = settings_of("drq", settings("drq", "num_skills=3", "skill_embedding_dim=2", "device=cpu") | sizes)
    agent = parts.build_agent(config, (3, 19, 19), 6, "pretrain", torch.device("cpu"))
    image, maps = 3 * stack * 19**2, channels * (9**2 + 7**2 + 5**2 + 3**2)
    convolutions = image + 2 * maps - channels * 3**2
    critic = convolutions + (channels * 3**2 + 8) + 2 * ((8 + 2 + 6 + 32) + (32 + 1))
    assert agent.activation_bytes(128, 1) == 4 * 2 * 128 * (2 * image + critic)


def test_a_larger_discriminator_counts(settings):
    """Half the batch is half the memory, and networks that are trained one after the other do not add up."""
    base = settings("drq", "preset=debug", "device=cpu")

    def bytes_of(**changes):
        return forecast(settings_of("drq", base | changes), "pretrain").activations

    assert bytes_of(batch_size=16) == 2 * bytes_of(batch_size=8)
    assert bytes_of(discriminator_hidden_dim=15) == bytes_of() < bytes_of(discriminator_hidden_dim=4000)


def test_an_agent_that_reads_tensors_while_it_is_built_is_built_on_the_cpu(need, monkeypatch):
    devices = []

    def reading(config, shape, action, phase, device):
        devices.append(device.type)
        float(torch.zeros(1))  # raises on meta
        return build_agent(config, shape, action, phase, device)

    expected = need("preset=debug").state
    for room in (parts, module):
        monkeypatch.setattr(room, "build_agent", reading)
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
    config = typed("pretrain", f"domain={domain}", f"task={task}", *choices)
    env = make(task, render_quality="lite")
    space = env.observation_space["observation"]
    actions, state = env.action_space.shape[0], env.reset()[1].get("physics")
    stored = None if state is None else len(state)
    spec = record_spec(space.shape, space.dtype, actions, config.agent.skill_dim, stored)
    assert forecast(config, "pretrain").layout.dtype == record_dtype(spec)
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
    found = forecast(settings_of("pretrain", config), "pretrain")
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
    encoder = (3 * 8 * 8 + 2 * 3 * 3) + (2 * 3 * 3 + 4 * 1 * 1)
    assert activation_bytes(agent, 6, 8, 5) == 4 * 6 * (encoder + 16)
    assert activation_bytes(agent, 6, 8, 100) == 4 * 6 * 100 * 16


def test_activations_of_a_decoder_by_hand():
    """A single pixel of 32 numbers becomes 5 px, then 13 px."""
    agent = torch.nn.Sequential(torch.nn.ConvTranspose2d(32, 4, 5, 2), torch.nn.ConvTranspose2d(4, 3, 5, 2))
    assert activation_bytes(agent, 2, 64, 5) == 4 * 2 * ((32 + 4 * 25) + (4 * 25 + 3 * 169))


def test_snapshots_go_to_the_run_folder_without_another(settings, tmp_path):
    found = forecast(typed("finetune", "preset=debug", "device=cpu", "snapshots=[1000]", "snapshot_ts=0"), "finetune")
    assert found.snapshot_dir is None
    assert found.run_folder == found.disk == found.replay + 2 * found.checkpoint + 2 * found.snapshot
