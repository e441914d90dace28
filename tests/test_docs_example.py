"""The example of docs/add_a_method.md, as it stands on the page."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import agents.exploration
from agents.dreamer.agent import DreamerAgent
from agents.exploration.intrinsic_reward import TaskReward
from entry import settings as door
from entry.cli import check_overrides
from utils.config import CONFIGS, to_plain

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
METHOD, CONFIG, TEST = (
    "agents/exploration/autoencoder.py",
    "configs/agent/autoencoder_dreamer.yaml",
    "tests/agents/exploration/test_autoencoder.py",
)
MODULE = "agents.exploration.autoencoder"
SIZES = ("preset=debug", "device=cpu", "agent.code=3", "agent.units=8")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder with the page's files, the method importable under its own name."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    search = [*agents.exploration.__path__, str(tmp_path / "agents" / "exploration")]
    monkeypatch.setattr(agents.exploration, "__path__", search)
    yield tmp_path
    sys.modules.pop(MODULE, None)
    vars(agents.exploration).pop("autoencoder", None)


def settings_of(tree, script, *overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        search = f"hydra.searchpath=[file://{tree / 'configs'}]"
        config = compose(script, [search, "agent=autoencoder_dreamer", *SIZES, *overrides])
    return door.settings_of(script, to_plain(config))


def batch(rows=3, length=6):
    generator = torch.Generator().manual_seed(0)
    first = torch.zeros(rows, length, dtype=torch.bool)
    first[:, 0] = True
    return {
        "observation": torch.randint(0, 256, (rows, length, 3, 64, 64), generator=generator, dtype=torch.uint8),
        "action": torch.rand(rows, length, 6, generator=generator) * 2 - 1,
        "reward": torch.zeros(rows, length),
        "is_first": first,
    }


def test_the_page_has_the_files_it_names(tree):
    assert sorted(str(path.relative_to(tree)) for path in tree.rglob("*.*")) == sorted([METHOD, CONFIG, TEST])
    assert not (ROOT / METHOD).exists(), "the example must not hide a real method"


def test_one_update_trains_the_example_and_rewards_with_it(tree):
    torch.manual_seed(0)
    agent = DreamerAgent(settings_of(tree, "pretrain"), (3, 64, 64), 6, phase="pretrain")
    method = importlib.import_module(MODULE).AutoencoderNovelty
    assert type(agent.main.method) is method and agent.main.method.encode[-1].out_features == 3
    before = [parameter.clone() for parameter in agent.main.method.parameters()]
    metrics = agent.update(batch()).logged
    assert all(not torch.equal(old, new) for old, new in zip(before, agent.main.method.parameters(), strict=True))
    assert all(torch.isfinite(value) for value in metrics.values())
    assert {"autoencoder_loss", "autoencoder_grad_norm", "autoencoder_worst"} <= set(metrics)
    # the task reward is 0 and this one is not; the behaviour is paid with this one
    assert metrics["reward_mean"] > 0


def test_the_example_learns_to_reconstruct_what_it_is_shown(tree):
    torch.manual_seed(0)
    agent = DreamerAgent(settings_of(tree, "pretrain"), (3, 64, 64), 6, phase="pretrain")
    # of one model state: the world model, which would go on moving it, stands still
    records = batch()
    seen = agent.world_model.observe(records["observation"], records["action"], records["is_first"])
    view = agent._view(seen, records)
    before, _ = agent.main.method.loss(view)
    for _ in range(300):
        agent.main.train_method(view)
    after, _ = agent.main.method.loss(view)
    assert after < 0.5 * before


def test_fine_tuning_drops_the_method_and_takes_its_snapshot(tree):
    pretrained = DreamerAgent(settings_of(tree, "pretrain"), (3, 64, 64), 6, phase="pretrain")
    agent = DreamerAgent(settings_of(tree, "finetune", "task=walker_run"), (3, 64, 64), 6, phase="finetune")
    agent.load_snapshot(pretrained.snapshot_modules(), init_actor=True, init_critic=False)
    assert type(agent.main.method) is TaskReward
    assert "autoencoder_loss" not in agent.update(batch()).logged


def test_the_pages_own_test_passes(tree):
    names: dict[str, object] = {}
    exec(compile((tree / TEST).read_text(encoding="utf-8"), TEST, "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize("script, line", re.findall(r"^python dreamer_(\w+)\.py (.*)$", PAGE, re.MULTILINE))
def test_the_pages_commands_compose(tree, script, line):
    overrides = line.split()
    check_overrides(script, [override for override in overrides if not override.startswith("agent=")])
    assert settings_of(tree, script, *[o for o in overrides if not o.startswith("preset=")]).agent.code == 3
