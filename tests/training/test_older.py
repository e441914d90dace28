"""Files that an older version wrote (commit 9df961d: snapshots of format 2, checkpoints of format 3) still work.

See ``old_kit``.
"""

import pytest
import torch
from old_kit import SNAPSHOT, unpack
from omegaconf import OmegaConf
from settings_kit import compose_settings
from snapshot_kit import made_by

from agents.drq.settings import MethodKeys
from analysis.describe import describe
from analysis.skill_probe import load_agent
from entry.settings import settings_of
from entry.start import launch
from entry.stored import stored_settings
from training import checkpoint
from training.older import DRQ_METHOD, current
from training.run import CHECKPOINT
from utils.atomic import atomic_path
from utils.config import CONFIG_FILE
from utils.seal import seal
from utils.settings import fields_of

SMALL = ("encoder.cnn_depth=2", "decoder.cnn_depth=2", "rssm.deter=8", "rssm.hidden=8")


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The archive, unpacked."""
    monkeypatch.chdir(tmp_path)
    return unpack(tmp_path)


@pytest.mark.parametrize(
    ("folder", "script", "longer", "updates"),
    [
        ("pretrain", "pretrain", {"num_train_frames": 2500}, 75),
        ("finetune", "finetune", {"num_train_frames": 2500}, 75),
        ("drq", "drq", {"num_train_steps": 270}, 70),
    ],
)
def test_runs_go_on(old, folder, script, longer, updates):
    before = checkpoint.load(old / folder / CHECKPOINT, "checkpoint")
    settings = stored_settings(old / folder, compose_settings(script)) | longer
    run = launch(settings, old / folder, script, resume=True)
    assert run.updates == run.agent.updates == updates > before["counters"]["updates"]
    assert run.clock.over and run.counters.episode > before["counters"]["episode"] - 1
    after = checkpoint.load(old / folder / CHECKPOINT, "checkpoint")
    assert after["format"] == checkpoint.FORMATS["checkpoint"][-1]
    assert after["agent"]["modules"].keys() == before["agent"]["modules"].keys()


def test_a_snapshot_is_fine_tuned(old):
    overrides = (
        "preset=debug",
        "device=cpu",
        "agent=diayn_dreamer",
        "task=pendulum_swingup",
        "action_repeat=10",
        *SMALL,
    )
    config = compose_settings(
        "finetune", *overrides, "snapshot_ts=2000", "num_train_frames=1000", "evaluate=false", "progress=false",
        "replay.capacity=400", f"snapshot_base_dir={old / 'snaps'}",
    )  # fmt: skip
    run = launch(config, old / "new", "finetune")
    saved = checkpoint.load(old / SNAPSHOT, "snapshot")
    assert run.lineage[0]["path"] == str(old / SNAPSHOT) and saved["phase"] == "pretrain"
    final = checkpoint.load(old / "new" / "finetuned_snapshot.pt", "snapshot")
    assert final["phase"] == "finetune" and final["modules"].keys() == saved["modules"].keys()


@pytest.mark.parametrize("name", [SNAPSHOT, "drq/models/final_model.pt"])
def test_tools_take_them(old, name):
    agent, content = load_agent(old / name, 0)
    state = agent.snapshot_modules()
    assert all(torch.equal(state[part][key], value) for part, saved in content["modules"].items()
               for key, value in saved.items())  # fmt: skip
    assert "9df961d" in describe(checkpoint.load(old / name))


def test_what_is_stored_passes_todays_checks(old):
    for folder, script in (("pretrain", "pretrain"), ("finetune", "finetune"), ("drq", "drq")):
        stored = OmegaConf.to_container(OmegaConf.load(old / folder / CONFIG_FILE))
        assert stored["phase"] == script
        settings_of(script, stored_settings(old / folder, compose_settings(script)))


def test_drqs_reference_meant_all_of_it():
    then = {"reference": True, "skill_critic": True, "reward_state": "next", "extrinsic_coeff": None}
    now = current({"config": then})["config"]
    assert (now["skill_critic"], now["reward_state"], now["extrinsic_coeff"]) == (False, "current", 1.0)
    assert current({"config": then | {"extrinsic_coeff": 0.5}})["config"]["extrinsic_coeff"] == 0.5
    assert current({"config": then | {"env_factory": None}})["config"]["skill_critic"] is True
    assert current({"config": then | {"reference": False}})["config"]["skill_critic"] is True


def test_drqs_method_was_diayn():
    then = {"phase": "drq", "env_factory": None, "num_skills": 10}
    now = current({"config": then})["config"]
    assert now == then | DRQ_METHOD | {"augmentation": "shift"} and now["method"] == "diayn"
    assert DRQ_METHOD.keys() == {"method", *fields_of(MethodKeys)}
    assert current({"config": then | {"method": "metra"}})["config"]["method"] == "metra"


def test_what_an_agent_did_is_kept_where_a_file_says_it():
    assert current({"phase": "offline", "config": {"phase": "offline_train"}})["phase"] == "offline"


@pytest.mark.parametrize(
    ("config", "phase"),
    [
        ({"phase": "pretrain"}, "pretrain"),
        ({"phase": "finetune"}, "finetune"),
        ({"phase": "drq"}, "pretrain"),
        ({"snapshot_ts": 0}, "finetune"),
        ({"framestack": 3}, "pretrain"),
        ({}, "pretrain"),
    ],
)
def test_what_the_agent_did_is_told_by_the_settings_of_then(config, phase):
    assert current({"config": config})["phase"] == phase


@pytest.mark.parametrize(
    ("own", "meant"),
    [
        ({"broadcast_choice": True}, "likelihood"),
        ({"broadcast_choice": False}, "likelihood_paired"),
        ({}, "likelihood_paired"),
        ({"reversed_regression": False}, "regression"),
    ],
)
def test_a_choice_by_replay_was_what_the_method_made_of_it(own, meant):
    agent = current({"config": {"env_factory": None, "agent": {"skill_choice": "replay", **own}}})["config"]["agent"]
    assert agent["skill_choice"] == meant and "broadcast_choice" not in agent
    kept = {"env_factory": None, "agent": {"skill_choice": "imagination"}}
    assert current({"config": kept})["config"] == kept


@pytest.mark.parametrize(
    ("script", "words", "version", "lacks"),
    [
        ("pretrain", ("agent=diayn_dreamer", "preset=debug", "domain=walker"), 5, ("state_norm", "floor")),
        ("drq", ("preset=debug", "task=walker_walk", "num_skills=2"), 5, ("floor", "augmentation", *DRQ_METHOD)),
        ("drq", ("preset=debug", "task=walker_walk", "num_skills=2"), 6, tuple(DRQ_METHOD)),
    ],
)
def test_a_snapshot_of_the_format_before_lacks_what_came_since(tmp_path, script, words, version, lacks):
    """What a format does not say of settings, the tools that play snapshots would ask for."""
    path = made_by(tmp_path / "snapshot_20.pt", script, *words)
    content = torch.load(path, weights_only=True)
    before = {key: value for key, value in content["config"].items() if key not in lacks}
    with atomic_path(path) as temporary:
        torch.save(content | {"config": before, "format": version}, temporary)
        seal(temporary)
    read = checkpoint.load(path, "snapshot")
    unread = {*DRQ_METHOD} - {"method"}  # by DIAYN
    assert all(read["config"][key] == content["config"][key] for key in lacks if key not in unread)
    assert load_agent(path, seed=0)


def test_states_entered_raw_before_they_could_be_normalised():
    then = {"phase": "pretrain", "env_factory": None, "encoder": {}}
    assert current({"config": then})["config"]["state_norm"] == "none"
    assert current({"config": then | {"state_norm": "running"}})["config"]["state_norm"] == "running"
    assert "state_norm" not in current({"config": {"phase": "drq", "env_factory": None}})["config"]
