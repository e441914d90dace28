"""Malformed command lines: each is refused with a message that names what is wrong, and the nearest key."""

import random

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from malformed_kit import BASES, SCRIPTS, bases, composed_once, misspelt_key, nothing_is_built
from omegaconf.errors import OmegaConfBaseException

from entry import cli
from entry.start import launch
from utils.config import CONFIGS, flatten, to_plain
from utils.errors import UserError

__all__ = ["bases", "composed_once", "nothing_is_built"]  # fixtures


def refusal(script, arguments, tmp_path):
    """The message that a command line is refused with, by the functions the scripts call; fails if it is not."""
    try:
        cli.check_overrides(script, arguments)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(script, arguments)
        launch(to_plain(config), tmp_path / "work" / "run", script)
    except (UserError, HydraException, OmegaConfBaseException) as error:  # what entry.cli.cli catches
        return str(error)
    raise AssertionError(f"{script} {arguments}: was not refused")


@pytest.mark.parametrize("each", [1, pytest.param(4, marks=pytest.mark.long)])
def test_misspelt_keys_of_the_command_line(each, bases, tmp_path):
    draw = random.Random(3)
    near = total = 0
    asked = BASES if each > 1 else BASES[::2]
    for script, agent in asked:
        keys = list(flatten(bases[script, agent]))
        for _ in range(each):
            wrong, meant = misspelt_key(draw, keys)
            message = refusal(script, [f"agent={agent}", f"{wrong}=3"], tmp_path)
            assert f"there is no key {wrong}." in message
            near += f"Did you mean {meant}?" in message
            total += 1
    assert total == each * len(asked) and near > 0.8 * total


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("agent=dreemer", "Did you mean agent=dreamer?"),
        ("agent=null", "agent=null"),
        ("agent=3", "agent=3"),
        ("agent=[dreamer,icm_dreamer]", "agent="),
        ("preset=[debug,small]", "preset="),
        ("preset=true", "preset=true"),
        ("configs=states", "configs=states"),
        ("~agent", "~agent"),
        ("=3", "=3"),
        ("seed=[1", "seed=[1"),
        (f"seed={'9' * 5000}", "seed=9999"),
        ("resume=nowhere", "resume=nowhere"),
        ("rssm.deter.x=3", "rssm.deter.x"),
        ("++num_train_frame=10", "Did you mean num_train_frames?"),
    ],
)
def test_command_lines_that_no_configuration_is_made_of(script, argument, named, tmp_path):
    assert named in refusal(script, [argument], tmp_path)


@pytest.mark.parametrize(
    ("script", "argument", "named"),
    [
        ("pretrain", "actor=3", "actor=3 is not allowed: it must be a section with the keys layers, units"),
        ("finetune", "agent.reward_norm=null", "agent.reward_norm=null is not allowed: it must be a section"),
        ("pretrain", "actor=[1]", "actor=[1]"),
        ("finetune", "batch_size={a:1}", "batch_size="),
        ("pretrain", "seed=${nothing}", "seed"),
        ("finetune", "seed=???", "seed"),
        ("pretrain", "project_name=???", "project_name=???"),
        ("finetune", "~actor", "actor is missing"),
        ("pretrain", "~agent.grad_heads", "agent.grad_heads is missing"),
        ("finetune", "~snapshot_ts", "snapshot_ts is missing"),
        ("pretrain", "+snapshot_ts=100", "snapshot_ts is a key of dreamer_finetune.py"),
        ("pretrain", "+num_train_frame=10", "Did you mean num_train_frames?"),
        ("finetune", "+rssm.detre=3", "Did you mean rssm.deter?"),
        ("pretrain", "+collect.time_out=3", "Did you mean collect.timeout?"),
        ("pretrain", "agent.reward_norm={scal:1}", "agent.reward_norm"),
        ("finetune", "seed=1,2", "seed=1,2"),
    ],
)
def test_command_lines_that_are_refused_later(script, argument, named, tmp_path):
    assert named in refusal(script, [argument], tmp_path)


@pytest.mark.parametrize(
    ("script", "argument", "answer"),
    [
        ("pretrain", "agent.skill_dim=8", "is a key of agent=aps_dreamer, choreo, cic_dreamer, deviation_dreamer, "),
        ("pretrain", "snapshot_ts=100", "snapshot_ts is a key of dreamer_finetune.py."),
        ("pretrain", "agent.knn_kk=3", "there is no key agent.knn_kk. --cfg"),
        ("pretrain", "plannner.horizon=3", "Did you mean planner.horizon?"),
        ("pretrain", "deter=3", "Did you mean rssm.deter?"),
        ("pretrain", "snapshot.0=3", "Did you mean snapshots?"),
        ("pretrain", "learning_speed=3", "there is no key learning_speed. --cfg"),
    ],
)
def test_only_a_near_key_is_suggested(script, argument, answer, tmp_path):
    assert answer in refusal(script, [argument], tmp_path)
