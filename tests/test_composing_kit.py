"""Composing faster changes nothing of what is composed."""

import composing_kit
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from entry.cli import check_overrides

LINES = [
    ("pretrain", ["preset=debug", "agent=diayn_dreamer", "agent.skill_dim=7", "~snapshots"]),
    ("finetune", ["-m", "configs=dmc_states", "seed=1,2", "agent=aps_dreamer,dreamer"]),
    ("drq", ["env=dmc_cup_catch", "preset=small", "++hydra.run.dir=here"]),
]


def composed(script, words):
    found = check_overrides(script, words)
    return [OmegaConf.to_yaml(job) for job in found.jobs], found.sweep


@pytest.mark.parametrize(("script", "words"), LINES, ids=[line[0] for line in LINES])
def test_it_is_what_hydra_makes_by_itself(script, words, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(composing_kit.Files, "load_config", composing_kit._read)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", composing_kit._merge)
        patch.delattr(ConfigStore, "__deepcopy__")
        by_itself = composed(script, words)
    assert [composed(script, words) for _ in range(2)] == 2 * [by_itself]
    assert composed(script, [*words, "device=cpu"]) != by_itself == composed(script, words)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    (tmp_path / "agent").mkdir()
    for number in (3, 44):
        (tmp_path / "agent" / "mine.yaml").write_text(f"defaults: [icm_dreamer]\nname: mine\nicm_hidden: {number}\n")
        found = check_overrides("pretrain", ["--config-dir", str(tmp_path), "agent=mine"])
        assert found.jobs[0].agent.icm_hidden == number
