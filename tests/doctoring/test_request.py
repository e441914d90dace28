"""Which script a command line is for, and that it is read as the scripts read it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from snapshot_kit import DRQ, SD3, made_by

from doctoring.request import read
from entry.scripts import SCRIPTS
from utils.errors import UserError

SMALL = ("preset=debug", "device=cpu")


@pytest.mark.parametrize(
    ("overrides", "phase"),
    [
        (["agent=deviation_dreamer", "domain=walker"], "pretrain"),
        (["task=walker_stand", "snapshot_ts=2000000"], "finetune"),
        (["dreamer_finetune.py", "task=walker_stand"], "finetune"),
        (["task=walker_stand"], "pretrain"),  # both would take it
        ([], "pretrain"),
        (["agent=icm_dreamer", "task=walker_stand", "snapshot_ts=0"], "finetune"),
    ],
)
def test_the_script_is_found(overrides, phase):
    request = read([*overrides, *SMALL])
    assert request.phase == phase and request.settings.task == "walker_stand"


@pytest.mark.parametrize(
    "overrides",
    [
        ["drq_train.py", "task=walker_run", "num_skills=10"],
        ["task=walker_run", "num_skills=10"],
        ["env=dmc_walker_run", "skill_critic=false", "--multirun", "lr=1e-3,1e-4"],
        ["drq_preset=small", "task=walker_run"],  # the former name of its presets
        ["some/folder/drq_train.py", "task=dmc_walker_run"],  # all three would take the rest
    ],
)
def test_drq_is_found(overrides):
    request = read([*overrides, "device=cpu"])
    assert request.phase == "drq" and request.first_of_sweep == ("--multirun" in overrides)
    assert (request.settings.task, request.settings.frames) == ("walker_run", 4_000_000)


@pytest.mark.parametrize("phase", SCRIPTS)
def test_every_script_can_be_named(phase):
    task = ["task=walker_walk"] if phase == "finetune" else []
    assert read([SCRIPTS[phase].file, "device=cpu", *task]).phase == phase


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["num_train_frame=10"], "Did you mean num_train_frames?"),
        (["snapshot_ts=0", "init_critic=true", "num_train_frame=10"], "no key num_train_frame."),  # not: snapshot_ts
        (["agent=dreemer"], "Did you mean agent=dreamer?"),
        (["domain=hoper"], "domain=hoper"),
        (["num_seed_frames=1001"], "not a multiple of action_repeat=2"),
        (["seed=[1"], "not a valid override"),
        (["nonsense"], "Write key=value"),
        (["train.py", "seed=3"], "train.py is none of the scripts"),
        (["drq_train.py", "num_skill=3"], "Did you mean num_skills?"),
        (["task=walker_run", "num_skills=1"], "num_skills=1"),
        (["framestack=3", "encoder_channels=8", "agent.reference=true"], "agent.reference"),  # not: framestack
        (["resume=nowhere"], "holds no run"),
    ],
)
def test_the_scripts_own_messages(overrides, part):
    with pytest.raises(UserError) as refused:
        read(overrides)
    assert part in str(refused.value)


def test_flags_and_overrides_of_hydra_are_read_by_hydra(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read(["--cfg", "job", "hydra.run.dir='a b/c'", "seed=3", *SMALL]).run_dir == tmp_path / "a b" / "c"
    assert read(["hydra.run.dir=runs/${seed}/x", "seed=3", *SMALL]).run_dir == tmp_path / "runs" / "3" / "x"
    assert read(["hydra.run.dir=~/x", *SMALL]).run_dir == Path.home() / "x"
    assert read(["seed=3", *SMALL]).run_dir is None
    sweep = read(["seed=3,4", "-m", "hydra.sweep.dir=there", *SMALL])
    assert (sweep.run_dir, sweep.first_of_sweep) == (tmp_path / "there", True)


def test_configurations_of_the_users_own_are_found(tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("defaults: [icm_dreamer]\nname: mine\n")
    for words in (["--config-dir", str(tmp_path)], [f"hydra.searchpath=[{tmp_path}]"]):
        assert read([*words, "agent=mine", *SMALL]).settings.agent.name == "mine"


def test_the_first_job_of_a_sweep():
    request = read(["--multirun", "agent=rnd_dreamer,dreamer", "seed=7,8", "snapshots=[1000,2000]", *SMALL])
    assert request.first_of_sweep
    assert (request.settings.agent.name, request.settings.seed) == ("rnd_dreamer", 7)
    assert request.settings.snapshots == [1000, 2000]
    assert not read(["seed=7", *SMALL]).first_of_sweep


def test_a_resumed_run_has_its_stored_settings(settings, tmp_path):
    stored = settings("finetune", *SMALL, "seed=5", "snapshot_ts=0") | {"phase": "finetune", "choices": {}}
    OmegaConf.save(OmegaConf.create(stored), tmp_path / "config.yaml")
    for words in ([f"resume={tmp_path}"], ["resume=auto", f"hydra.run.dir={tmp_path}"]):
        request = read([*words, "num_train_frames=77", "collect.timeout=7"])
        assert (request.phase, request.settings.seed, request.run_dir) == ("finetune", 5, tmp_path)
        assert (request.settings.num_train_frames, request.settings.collect.timeout) == (77, 7)


def test_a_resumed_run_of_drq_has_no_settings_of_dreamer(settings, tmp_path):
    """No word tells that it is one: the folder does."""
    stored = settings("drq", "preset=debug", "device=cpu", "seed=5") | {"phase": "drq", "choices": {}}
    OmegaConf.save(OmegaConf.create(stored), tmp_path / "config.yaml")
    for words in ([], ["num_train_steps=77"]):
        request = read([f"resume={tmp_path}", *words])
        assert (request.phase, request.settings.seed, request.run_dir) == ("drq", 5, tmp_path)
        assert request.settings.num_train_steps == (77 if words else 1_000_000)


def test_a_run_that_would_be_resumed_but_has_not_begun(tmp_path):
    request = read(["resume=auto", f"hydra.run.dir={tmp_path}", "seed=4", *SMALL])
    assert (request.phase, request.settings.seed, request.run_dir) == ("pretrain", 4, tmp_path)


def test_a_snapshot_says_which_script_and_agent_is_meant(tmp_path):
    sd3 = made_by(tmp_path / "snapshot_1.pt", "pretrain", *SD3, "rssm.deter=12")
    request = read([f"snapshot={sd3}"])
    assert (request.phase, request.settings.agent.name, request.choices["preset"]) == (
        "finetune",
        "deviation_dreamer",
        "debug",
    )
    drq = made_by(tmp_path / "drq.pt", "drq", *DRQ)
    assert read([f"snapshot={drq}"]).phase == "drq"
    with pytest.raises(UserError) as caught:
        read([f"snapshot={tmp_path}/gone.pt"])
    assert "gone.pt" in str(caught.value) and "snapshot_1.pt" in str(caught.value)
