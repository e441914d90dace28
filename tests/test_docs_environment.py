"""The examples of docs/add_an_environment.md, as they stand on the page: checked, trained on, resumed, fine-tuned."""

import importlib
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fork_kit import run
from settings_kit import compose_settings

from entry.cli import check_overrides
from entry.start import launch
from entry.stored import CHOICES
from envs.contract import main as check_command
from envs.make import make
from training.checkpoint import load

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add_an_environment.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^python (\S+)\.py (.*)$", PAGE, re.MULTILINE)
SCRIPTS = {"dreamer_pretrain": "pretrain", "dreamer_finetune": "finetune", "drq_train": "drq"}
OWN = ("env_factory=dots.make", "device=cpu", "progress=false", "save_video=false")
DREAMER = ("preset=debug", "num_seed_frames=120", "use_tb=false", "evaluate=false", "checkpoint_every_minutes=10")
DRQ = ("preset=debug", "num_seed_steps=60", "log_save_tb=false", "action_repeat=2", "eval_frequency=1000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's files, importable here and in worker processes."""
    made = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (made / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(made))
    importlib.invalidate_caches()
    yield made
    sys.path.remove(str(made))
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def settings(script, folder, *overrides):
    words = [*(DRQ if script == "drq" else DREAMER), *OWN, f"snapshot_base_dir={folder / 'snapshots'}", *overrides]
    return compose_settings(script, *words)


def weights(run):
    state = run.agent.training_state()["modules"]
    return {f"{part}.{name}": x for part, tensors in state.items() for name, x in _flat(tensors)}


def _flat(node, prefix=""):
    if isinstance(node, torch.Tensor):
        return [(prefix, node)]
    return [pair for key, value in node.items() for pair in _flat(value, f"{prefix}.{key}")]


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_the_page_has_the_files_and_commands_it_names():
    assert set(FILES) == {"dots.py", "stock.py"} and {script for script, _ in COMMANDS} == set(SCRIPTS)
    assert not any((ROOT / name).exists() for name in FILES)


def test_the_dot_keeps_the_contract(folder, capsys):
    assert check_command(["dots.make", "--task", "middle"]) == 0
    assert "50 steps" in capsys.readouterr().out


def test_the_dot_moves_and_pays_in_the_middle(folder):
    env = make("middle", env_factory="dots.make", image_size=64, action_repeat=2)
    env.reset()
    place = env.unwrapped.place
    _, reward, _, _, info = env.step(-place / np.abs(place).max())
    assert np.allclose(info["physics"], place - 0.1 * place / np.abs(place).max())
    assert reward == pytest.approx(max(0.0, 1.0 - np.linalg.norm(info["physics"])))
    still = make("none", env_factory="dots.make")
    still.reset()
    assert still.step(np.zeros(2, np.float32))[1] == 0.0


def test_dreamer_trains_on_it_and_goes_on_exactly(folder):
    straight = launch(settings("pretrain", folder, "num_train_frames=330"), folder / "straight", "pretrain")
    first = launch(settings("pretrain", folder, "num_train_frames=250"), folder / "parts", "pretrain")
    assert first.updates > 0 and first.collector.state_dict()["lengths"] != [0]  # in the middle of an episode
    asked = settings("pretrain", folder, "num_train_frames=330")
    resumed = launch(asked, folder / "parts", "pretrain", resume=True)
    assert resumed.updates == straight.updates > first.updates
    assert_same_weights(weights(resumed), weights(straight))
    episodes = [run.replay.episodes.tolist() for run in (resumed, straight)]
    assert episodes[0] == episodes[1] and episodes[0][0][2] == 51
    for env, start, length in episodes[0]:
        one, two = (run.replay.read(env, start, length) for run in (resumed, straight))
        assert all(np.array_equal(one[key], two[key]) for key in one)
        assert one["physics"].shape == (51, 2)


def test_dreamer_fine_tunes_what_was_pre_trained(folder):
    launch(settings("pretrain", folder, "num_train_frames=200", "snapshots=[200]"), folder / "pre", "pretrain")
    path = folder / "snapshots" / "pixels" / "dots" / "dreamer" / "1" / "snapshot_200.pt"
    assert load(path, "snapshot")["config"]["env_factory"] == "dots.make"
    tuned = settings("finetune", folder, "task=middle", "snapshot_ts=200", "num_train_frames=420", "num_envs=2")
    run = launch(tuned, folder / "tuned", "finetune")
    assert run.lineage[0]["path"] == str(path) and run.updates > 0
    assert run.replay.read(0, 0, 51)["reward"].max() > 0


def test_drq_trains_on_it_and_goes_on_exactly(folder):
    words = ("task=middle", "num_skills=2", "env=null")
    straight = launch(settings("drq", folder, *words, "num_train_steps=130"), folder / "drq", "drq")
    launch(settings("drq", folder, *words, "num_train_steps=110"), folder / "drq_parts", "drq")
    asked = settings("drq", folder, *words, "num_train_steps=130")
    resumed = launch(asked, folder / "drq_parts", "drq", resume=True)
    assert resumed.updates == straight.updates > 0
    assert_same_weights(weights(resumed), weights(straight))
    assert (folder / "drq" / "models" / "final_model.pt").is_file()


def test_a_resumed_run_imports_it_only_if_the_command_line_names_it(folder):
    asked = settings("pretrain", folder, "num_train_frames=60") | {CHOICES: {}}
    launch(asked, folder / "stored", "pretrain")

    def go_on(*words):
        variables = {**os.environ, "PYTHONPATH": str(folder)}
        return run(ROOT / "dreamer_pretrain.py", f"resume={folder / 'stored'}", *words, cwd=folder, env=variables)

    refused = go_on()
    assert refused.returncode == 1 and "add env_factory=dots.make" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = go_on("env_factory=dots.make", "num_train_frames=80")
    assert done.returncode == 0 and "finished: 80 frames" in done.stdout


def test_the_stock_example(folder, capsys):
    assert check_command(["stock.make", "--task", "Hopper-v5"]) == 0
    assert "3 numbers in an action, at most 500 steps" in capsys.readouterr().out
    env = make("Hopper-v5", env_factory="stock.make")
    seen = env.reset()[0]["observation"]
    assert seen.shape == (3, 64, 64) and seen.max() > seen.min()
    env.close()


@pytest.mark.parametrize("script, line", COMMANDS)
def test_the_pages_commands_are_accepted(script, line):
    check_overrides(SCRIPTS[script], shlex.split(line))
