"""What offline_train.py, and fine-tuning from its snapshots, refuse before anything is built."""

import pytest
from dataset_kit import exorl_noise
from run_kit import DEBUG

from entry.settings import composed, settings_of
from preflight.data_forecast import data_forecast
from preflight.settings import schema_for
from training.datasets import data_of
from training.offline_settings import NOT_SIMULATED, OfflineKeys
from utils.config import flatten
from utils.errors import UserError
from utils.settings import keys_of

SKILLS = ("diayn_dreamer", "aps_dreamer", "deviation_dreamer")


def refusal(script, *words):
    with pytest.raises(UserError) as refused:
        settings_of(script, composed(script, [*DEBUG, *words]))
    return str(refused.value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        *((f"agent={agent}", (f"agent={agent}", "skill", "choreo")) for agent in SKILLS),
        ("configs=dmc_pixels", ("obs_type=pixels", "configs=dmc_states")),
        ("configs=dmc_states_ar2", ("action_repeat=2", "configs=dmc_states")),
        ("domain=walkr", ("domain=walkr", "domain=walker")),
        ("relabel_task=walker_runn", ("relabel_task=walker_runn", "relabel_task=walker_run")),
        ("relabel_task=quadruped_run", ("relabel_task=quadruped_run",)),
        ("num_train_updates=0", ("num_train_updates=0",)),
        ("log_every_updates=0", ("log_every_updates=0",)),
        ("replay.verify=drop", ("replay.verify=drop", "true or false")),
        ("dataset=null", ("dataset=null",)),
        ("mpc=true", ("mpc=true",)),
        ("+num_seed_frames=0", ("num_seed_frames=0",)),
        ("+task=walker_run", ("task=walker_run",)),
        ("num_envs=2", ("num_envs=2",)),
    ],
)
def test_what_goes_with_no_data_set_is_refused_in_words(word, said):
    text = refusal("offline_train", word)
    assert all(part in text for part in said), text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("from_offline=true", "collection_method=rnd"), ("from_offline=true", "dataset=exorl")),
        (("from_offline=true", "dataset=exorl"), ("from_offline=true", "collection_method=rnd")),
    ],
)
def test_a_snapshot_of_a_data_set_is_named_by_both_its_folders(words, said):
    text = refusal("finetune", "configs=dmc_states", *words)
    assert all(part in text for part in said), text


def test_the_keys_of_the_schema_are_those_of_the_files_but_for_what_nothing_simulates():
    config = composed("offline_train", [])
    schema = set(keys_of(schema_for(OfflineKeys, config["agent"])))
    found = set(flatten({key: value for key, value in config.items() if key != "choices"}))
    hidden = {key for key in schema if key.partition(".")[0] in NOT_SIMULATED}
    assert found - schema == set()
    have_defaults = {"retain", "goal_seed", "task_id"}
    assert {key.partition(".")[0] for key in schema - found - hidden} == have_defaults


def test_published_lengths_are_frames_over_ten():
    settings = settings_of("offline_train", composed("offline_train", ["agent=choreo"]))
    assert settings.num_train_updates == 200_001 and settings.replay.capacity == 2_000_000
    assert settings.snapshots == [10_000, 50_000, 100_000, 200_000]
    parts = (settings.dataset_dir, settings.snapshot_dir)
    assert parts == ("~/urlb_datasets/exorl/walker/proto/buffer", "offline_models/exorl/proto/walker/choreo/1")


@pytest.mark.parametrize("preset", ["debug", "small", "quickstart"])
def test_presets_change_sizes_and_not_what_the_data_are(preset):
    settings = settings_of("offline_train", composed("offline_train", [f"preset={preset}"]))
    assert (settings.action_repeat, settings.obs_type, settings.num_train_updates) == (1, "states", 200_001)
    assert settings.rssm.deter < 200


def test_a_method_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    exorl_noise(tmp_path / "walker" / "proto" / "buffer")
    exorl_noise(tmp_path / "walker" / "rnd" / "buffer")

    def asked(*words):
        return settings_of("offline_train", composed("offline_train", [*DEBUG, *words]))

    own = "dataset_dir='" + str(tmp_path) + "/${domain}/${collection_method}/buffer'"
    with pytest.raises(UserError) as refused:
        data_of(asked(own, "collection_method=icm"))
    assert "collection_method=icm" in str(refused.value) and "proto, rnd" in str(refused.value)
    with pytest.raises(UserError) as refused:
        data_forecast(asked(own, "domain=quadruped"), "offline")
    assert "dataset_dir=" in str(refused.value) and "quadruped" in str(refused.value)
    assert len(data_of(asked(own, "collection_method=anything", f"dataset_dir={tmp_path}/walker/rnd")).files) == 4
