"""``env_factory=`` in the settings of every script: names, sizes and folders; what does not fit is refused at once."""

from pathlib import Path

import pytest
from own_kit import LONGEST
from settings_kit import compose_settings, typed

from analysis.snapshot_tool import build_env
from entry.scripts import SCRIPTS
from entry.start import launch
from envs.make import make
from preflight.forecast import forecast
from training.evaluation import play
from training.parts import env_sizes, episode_records, total_records
from utils.config import domain_of
from utils.errors import UserError
from utils.settings import fields_of

WITH_OWN = [name for name, row in SCRIPTS.items() if {"env_factory", "num_envs"} <= fields_of(row.keys).keys()]
"""Scripts that take environments of the user's own."""


def checked(script, *overrides, factory="own_kit.make"):
    words = ["preset=debug", "device=cpu", f"env_factory={factory}", "num_envs=1", *overrides]
    return typed(script, *words)


@pytest.mark.parametrize("script", WITH_OWN)
def test_the_domain_is_the_factorys_module_and_the_task_is_free(script):
    config = checked(script)
    assert (config.domain, config.task) == ("own_kit", "none")
    assert checked(script, "task=walk the dog").task == "walk the dog"
    assert checked(script, "task=walker_stand").domain == "own_kit"
    if script != "finetune":
        assert Path(config.snapshot_dir).parts[1:3] == ("pixels", "own_kit")
    if script != "drq":
        assert checked(script, "domain=mine").domain == "mine"


def test_nothing_changes_without_a_factory():
    assert compose_settings("pretrain")["domain"] == "walker"
    assert compose_settings("finetune")["domain"] == "none"
    assert compose_settings("finetune")["task"] == "walker_stand"
    assert compose_settings("drq")["task"] == "cartpole_swingup"
    assert {compose_settings(script)["env_factory"] for script in WITH_OWN} == {None}


def test_names_that_are_made_of_a_factory():
    assert domain_of("my_lab.envs.make", "walker") == "my_lab_envs"
    assert domain_of(None, "walker") == "walker"


@pytest.mark.parametrize("script", WITH_OWN)
def test_sizes_are_those_of_the_environment(script):
    config = checked(script)
    assert env_sizes(config) == (2, None, LONGEST) and episode_records(config) == LONGEST + 1
    steps = config.frames // config.action_repeat
    assert total_records(config) == pytest.approx(steps * (LONGEST + 1) / LONGEST, abs=2)
    assert "physics" not in (forecast(config, "pretrain").layout.dtype.names or ())


@pytest.mark.parametrize(
    "script, overrides",
    [
        ("pretrain", ["agent=diayn_dreamer", "num_train_frames=110", "num_seed_frames=50", "snapshots=[100]"]),
        ("drq", ["num_train_steps=40", "num_seed_steps=20", "eval_frequency=30", "num_skills=2", "save_video=true"]),
    ],
)
def test_a_whole_run_without_simulator_states(tmp_path, script, overrides, capsys):
    words = ["preset=debug", "device=cpu", "env_factory=own_kit.make", "progress=false", *overrides]
    asked = compose_settings(script, *words, f"snapshot_base_dir={tmp_path}")
    run = launch(asked, tmp_path / "run", script)
    assert "env_factory=own_kit.make" in (note := next(note for note in run.notes if "physics" in note))
    assert f"note: {note}" in capsys.readouterr().out
    assert "physics" not in run.replay.layout.dtype.names and run.updates > 0
    assert run.origin.spec["action"][0] == [2] and run.replay.episodes[0][2] == LONGEST + 1
    assert (tmp_path / "run" / "eval.csv").is_file() and list((tmp_path / "run").rglob("*.mp4"))
    played = play(run.agent, run.eval_env, run.agent.shown.candidates(run.device)[0], steps=3)
    assert played.states.shape == (4, 0)


@pytest.mark.parametrize("script", WITH_OWN)
@pytest.mark.parametrize(
    "overrides, words",
    [
        (["task=alias"], "observation that was returned"),
        (["task=raises"], "no such level"),
        (["task=length"], "max_episode_steps=None"),
        (["action_repeat=0"], "action_repeat=0"),
    ],
)
def test_what_does_not_fit_is_refused(script, overrides, words):
    with pytest.raises(UserError) as caught:
        checked(script, *overrides)
    assert words in str(caught.value)
    assert words.startswith("action_repeat") or "env_factory=own_kit.make" in str(caught.value)


def test_an_episode_shorter_than_a_sequence_is_refused():
    with pytest.raises(UserError, match=rf"batch_length=14.* {LONGEST + 1} "):
        checked("pretrain", "batch_length=14")
    checked("pretrain", "batch_length=13")
    with pytest.raises(UserError, match="domain=a/b"):
        checked("pretrain", "domain=a/b")
    with pytest.raises(UserError, match="env_factory=nowhere.make"):
        checked("pretrain", factory="nowhere.make")


def test_a_tool_imports_only_what_its_command_line_names():
    config = checked("pretrain").plain()
    with pytest.raises(UserError, match="--env-factory=own_kit.make"):
        build_env(config, 0)
    assert build_env(config, 0, ("own_kit.make",)).observation_space["observation"].shape == (3, 64, 64)
    assert build_env(typed("pretrain", "preset=debug").plain(), 0).action_space == make("walker_stand").action_space
