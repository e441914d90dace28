"""Hydra parses and composes: what it documents works here, with all that is checked in front of it."""

import pytest
from omegaconf import OmegaConf

from entry.cli import check_overrides
from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from utils.config import CONFIGS
from utils.errors import UserError

FILES = {
    "my/agent/mine.yaml": "defaults: [icm_dreamer]\nname: mine\nicm_hidden: 77\n",
    "my/preset/mine.yaml": "# @package _global_\nbatch_size: 7\n",
    "my/agent_preset/mine_mine.yaml": "# @package agent\nicm_hidden: 78\n",
    "my/extra/few.yaml": "# @package _global_\nbatch_length: 9\n",
    "my/whole.yaml": "defaults: [pretrain, override agent: mine, _self_]\nbatch_size: 5\n",
    "my/sweep.yaml": "defaults: [pretrain, _self_]\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '3,4'}}}\n",
    "other/start.yaml": "defaults: [whole]\nhydra: {searchpath: ['file://${oc.env:PLACE}', 'file://${oc.env:OURS}']}\n",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", str(tmp_path / "my"))
    monkeypatch.setenv("OURS", str(CONFIGS))
    monkeypatch.setenv("NAME", "of the lab")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config-dir", "my", "agent=mine"], {"agent.icm_hidden": 77}),
        (["-cd", "my", "agent=mine", "preset=mine"], {"agent.icm_hidden": 78, "batch_size": 7}),
        (["hydra.searchpath=[my]", "agent=mine", "agent.icm_scale=2"], {"agent.icm_hidden": 77, "agent.icm_scale": 2}),
        (["--config-path", "{here}/other", "--config-name", "start"], {"agent.icm_hidden": 77, "batch_size": 5}),
        (["--config-dir=my", "+extra=few"], {"batch_length": 9}),
        (["--config-dir", "my", "--config-name", "whole"], {"agent.icm_hidden": 77, "batch_size": 5}),
        (["-cd", "my", "-cn", "whole", "batch_size=6", "preset=debug"], {"agent.name": "mine", "batch_size": 6}),
        (["project_name=${oc.env:NAME}"], {"project_name": "of the lab"}),
        (["batch_size=${batch_length}"], {"batch_size": 50}),
        (["project_name='a,b'"], {"project_name": "a,b"}),
        (["project_name='a=~/b'"], {"project_name": "a=~/b"}),
        (["rssm={deter: 3, hidden: 4}"], {"rssm.deter": 3, "rssm.stoch": 32}),
        (["++batch_size=3", "~agent_preset"], {"batch_size": 3}),
        (["snapshots.0=200"], {"snapshots": [200, 500000, 1000000, 2000000]}),
        (["~configs"], {"obs_type": "pixels"}),
    ],
    ids=str,
)
def test_a_command_line_is_what_hydra_makes_of_it(words, expected, here):
    words = [word.replace("{here}", str(here)) for word in words]
    [job] = check_overrides("pretrain", words).jobs
    assert {key: OmegaConf.select(job, key) for key in expected} == expected
    settings_of("pretrain", composed("pretrain", words))


@pytest.mark.parametrize(
    ("words", "agents"),
    [
        (["-m", "agent=dreamer,icm_dreamer", "seed=1,2,3"], ["dreamer", "icm_dreamer"]),
        (["--multirun", "agent=glob(i*)", "seed=range(1,1000)"], ["icm_dreamer"]),
        (["-m", "agent=choice(dreamer,mine)", "hydra.searchpath=[my]"], ["dreamer", "mine"]),
        (["-cd", "my", "-m", "agent=mine", "seed=shuffle(1,2)"], ["mine"]),
        (["-cd", "my", "-cn", "sweep"], ["dreamer"]),
        (["hydra.mode=MULTIRUN", "seed=1,2"], ["dreamer"]),
    ],
    ids=str,
)
def test_a_sweep_is_looked_at_before_it_starts(words, agents, here):
    before = sorted(here.rglob("*"))
    found = check_overrides("pretrain", words)
    assert found.sweep and list(dict.fromkeys(job.agent.name for job in found.jobs)) == agents
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-m", "agent=dreamer,dreemer"], "agent=dreemer"),
        (["-m", "agent=glob(*)", "num_train_frame=3,4"], "Did you mean num_train_frames?"),
        (["--config-dir", "nowhere"], "--config-dir nowhere"),
        (["--config-name", "nothing"], "nothing"),
        (["--nonsense"], "--nonsense"),
        (["seed=1", "-m", "agent=dreamer"], "agent=dreamer"),
        (["hydra.swep.dir=3"], "hydra.sweep"),
        (["-cd", "my", "agent=mime"], "Did you mean agent=mine?"),
        (["hydra.searchpath=[my]", "agent=mine", "agent.icm_hiden=3"], "Did you mean agent.icm_hidden?"),
        (["seed=${oc.env:NOT_THERE}"], "NOT_THERE"),
        (["hydra.searchpath=3"], "hydra.searchpath"),
    ],
    ids=str,
)
def test_what_leads_to_nothing_is_told_with_key_and_value(words, named):
    with pytest.raises(UserError) as refused:
        composed("pretrain", words)
    assert named in str(refused.value) and len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: [1\n", "ill.yaml"),
        ("- 1\n- 2\n", "agent=ill"),
        ("3\n", "int"),
        ("defaults: [ill]\n", "circle"),
        ("defaults: 3\n", "agent/ill"),
        ("", "agent=ill"),
        ("name: x\nname: y\n", "ill.yaml"),
        ("defaults: [nowhere]\n", "nowhere"),
    ],
)
def test_a_broken_file_of_the_users_own_is_one_message(text, named, here):
    (here / "my" / "agent" / "ill.yaml").write_text(text)
    with pytest.raises(UserError) as refused:
        check_overrides("pretrain", ["--config-dir", "my", "agent=ill"])
    assert named in str(refused.value)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_settings_without_any_word(script):
    words = ["snapshot_ts=0"] if script == "finetune" else []
    assert settings_of(script, composed(script, words)).seed == 1
