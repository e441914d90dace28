"""The agents' part of the presets: one table, an option of Hydra's group for every agent and preset in it."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from utils.config import CONFIGS

TABLE = OmegaConf.to_container(OmegaConf.load(CONFIGS / "agent_presets.yaml"))
ENTRIES = [(agent, preset) for agent, presets in TABLE.items() for preset in presets]


def agent_of(*words):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("pretrain", list(words)).agent)


@pytest.mark.parametrize(("agent", "preset"), ENTRIES)
def test_an_entry_changes_its_keys_and_nothing_else(agent, preset):
    assert (CONFIGS / "agent" / f"{agent}.yaml").is_file() and (CONFIGS / "preset" / f"{preset}.yaml").is_file()
    plain, changed = agent_of(f"agent={agent}"), agent_of(f"agent={agent}", f"preset={preset}")
    keys = TABLE[agent][preset]
    assert set(keys) <= set(plain) and plain != changed
    merged = OmegaConf.to_container(OmegaConf.merge(plain, keys))
    assert changed == merged and list(changed) == list(plain)


def test_the_command_line_wins_wherever_it_stands():
    words = ["agent.icm_hidden=5", "agent=icm_dreamer", "preset=small"]
    for given in (words, words[::-1]):
        agent = agent_of(*given)
        assert agent["icm_hidden"] == 5 and agent["method_opt"]["lr"] == 6e-4


def test_an_agent_in_a_folder_of_the_users_own_may_have_presets_and_need_not(tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("defaults: [icm_dreamer]\nname: mine\nicm_hidden: 77\n")
    words = (f"hydra.searchpath=[file://{tmp_path}]", "agent=mine", "preset=small")
    assert agent_of(*words)["icm_hidden"] == 77
    (tmp_path / "agent_preset").mkdir()
    (tmp_path / "agent_preset" / "small_mine.yaml").write_text("# @package agent\nicm_hidden: 7\n")
    assert agent_of(*words)["icm_hidden"] == 7
