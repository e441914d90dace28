"""``snapshot=<file>``: what the file stores is taken over, and any word of the user wins."""

import re
import shlex

import pytest
from advice_kit import pasted
from old_kit import SNAPSHOT, unpack
from omegaconf import OmegaConf
from run_kit import BLIND
from snapshot_kit import DRQ, SD3, made_by

from entry.cli import check_overrides
from entry.folders import with_home
from entry.scripts import SCRIPTS
from entry.settings import composed, settings_of
from entry.start import launch
from entry.stored import CHOICES, TAKEN, read_config
from training.fitting import check_fits
from utils.advice import override
from utils.config import get
from utils.errors import UserError
from utils.settings import SettingError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Snapshots that no test changes."""
    folder = tmp_path_factory.mktemp("made")
    made_by(folder / "sd3.pt", "pretrain", *SD3, "agent.skill_dim=5", "rssm.deter=12", "agent.num_init_frames=700")
    made_by(folder / "dreamer.pt", "pretrain", "preset=debug", "domain=cheetah", "action_repeat=4")
    made_by(folder / "drq.pt", "drq", *DRQ, "critic_hidden_dim=17", "render_size=36")
    # with as many skills as DIAYN has, one-hot like those
    made_by(folder / "metra.pt", "drq", *DRQ, "method=metra", "discrete=true", "num_skills=10")
    made_by(folder / "rnd.pt", "drq", *DRQ, "method=rnd", "rnd_cnn_depth=3")
    made_by(folder / "finetuned.pt", "finetune", *SD3[:2], "task=walker_run", "snapshot_ts=0",
            "agent.skill_choice=likelihood", phase="finetune")  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def settings(script, *words):
    """Through all checks of a command line that come before anything is built."""
    config = composed(script, with_home(words))
    found = settings_of(script, config)
    try:
        check_fits(SCRIPTS[script].source(found), found, config[CHOICES])
    except SettingError as error:
        raise UserError(error.worded(SCRIPTS[script].aliases.published)) from error
    return found, config


def refused(script, *words):
    with pytest.raises(UserError) as caught:
        settings(script, *words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("script", "words", "expected", "taken"),
    [
        (
            "finetune",
            ["snapshot=sd3.pt"],
            {"agent.name": "deviation_dreamer", "task": "walker_stand", "rssm.deter": 12, "agent.skill_dim": 5,
             "batch_size": 4, "agent.num_init_frames": 1000, "render.quality": "lite", "snapshot_ts": None},
            ["agent=deviation_dreamer", "configs=dmc_pixels", "preset=debug", "task=walker_stand", "agent.skill_dim=5",
             "rssm.deter=12"],
        ),
        (
            "finetune",
            ["snapshot=sd3.pt", "task=walker_run", "batch_size=3", "agent.num_init_frames=600", "preset=debug"],
            {"task": "walker_run", "batch_size": 3, "agent.num_init_frames": 600, "agent.skill_dim": 5},
            ["agent=deviation_dreamer", "configs=dmc_pixels", "agent.skill_dim=5", "rssm.deter=12"],
        ),
        (
            "finetune",
            ["snapshot=dreamer.pt"],
            {"agent.name": "dreamer", "task": "cheetah_run", "domain": "cheetah", "action_repeat": 4},
            ["agent=dreamer", "configs=dmc_pixels", "preset=debug", "task=cheetah_run", "action_repeat=4"],
        ),
        (
            "finetune",
            ["snapshot=finetuned.pt"],
            {"task": "walker_run", "agent.name": "deviation_dreamer", "agent.skill_choice": "reward"},
            ["agent=deviation_dreamer", "configs=dmc_pixels", "preset=debug", "task=walker_run"],
        ),
        # reward head and method begin anew, so these may be of another size
        ("finetune", ["snapshot=sd3.pt", "reward_head.units=20", "critic.units=20"], {"critic.units": 20}, None),
        (
            "drq",
            ["snapshot=drq.pt", "lr=1e-4"],
            {"task": "walker_walk", "image_size": 36, "critic_hidden_dim": 17, "action_repeat": 8, "lr": 1e-4},
            ["preset=debug", "task=walker_walk", "render_size=36", "critic_hidden_dim=17"],
        ),
        ("drq", ["snapshot=drq.pt", "env=walker_run"], {"task": "walker_run"}, None),
        (
            "drq",
            ["snapshot=metra.pt"],
            {"method": "metra", "discrete": True, "num_skills": 10, "agent.name": "drq_metra"},
            ["preset=debug", "task=walker_walk", "discrete=true", "num_skills=10", "method=metra"],
        ),
        ("drq", ["snapshot=rnd.pt"], {"method": "rnd", "num_skills": 0, "rnd_cnn_depth": 3}, None),
        ("drq", ["snapshot=rnd.pt", "method=diayn", "num_skills=0"], {"agent.name": "drq"}, None),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_command_line_leaves_open_is_the_snapshots(script, words, expected, taken):
    found, config = settings(script, *words)
    assert {key: get(found.plain(), key) for key in expected} == expected
    assert taken is None or config[TAKEN] == taken


def test_without_one_nothing_is_taken_over():
    assert TAKEN not in composed("finetune", ["snapshot_ts=0"])


def test_the_users_words_stay_the_users(made):
    words = ["snapshot=sd3.pt", "agent.num_init_frames=600"]
    [job] = check_overrides("finetune", words).jobs
    assert list(job.hydra.overrides.task) == words
    assert job.hydra.job.override_dirname == "agent.num_init_frames=600,snapshot=sd3.pt"
    assert OmegaConf.select(job, "agent.name") == "deviation_dreamer"


@pytest.mark.parametrize(
    ("script", "words", "named"),
    [
        ("finetune", ["snapshot=sd3.pt", "preset=small"], ["preset=small", "preset=debug"]),
        ("finetune", ["snapshot=sd3.pt", "rssm.deter=16"], ["rssm.deter=16", "rssm.deter=12"]),
        ("finetune", ["snapshot=sd3.pt", "critic.units=9", "init_critic=true"], ["critic.units=9", "critic.units=16"]),
        ("finetune", ["snapshot=sd3.pt", "agent=dreamer"], ["agent=dreamer", "agent=deviation_dreamer"]),
        ("finetune", ["snapshot=sd3.pt", "task=cheetah_run"], ["task=cheetah_run", "domain=cheetah", "domain=walker"]),
        ("finetune", ["snapshot=sd3.pt", "action_repeat=4"], ["action_repeat=4", "action_repeat=2"]),
        ("finetune", ["snapshot=sd3.pt", "snapshot_ts=0"], ["snapshot=sd3.pt", "snapshot_ts=0"]),
        ("finetune", ["snapshot=sd3.pt", "custom_snap_dir=."], ["snapshot=sd3.pt", "custom_snap_dir=."]),
        ("finetune", ["snapshot=drq.pt"], ["agent=drq_diayn", "drq_train.py"]),
        ("finetune", ["snapshot="], ["snapshot="]),
        ("finetune", ["snapshot=sd3.pt", "agent.skil_dim=4"], ["agent.skil_dim=4", "agent.skill_dim"]),
        ("finetune", ["snapshot=sd3.pt,dreamer.pt"], ["snapshot=sd3.pt,dreamer.pt", "--multirun"]),
        ("drq", ["snapshot=sd3.pt"], ["agent=deviation_dreamer", "drq_train.py"]),
        ("drq", ["snapshot=drq.pt", "num_skills=0"], ["num_skills=0", "num_skills=3"]),
        ("drq", ["snapshot=drq.pt", "render_size=32"], ["render_size=32", "render_size=36"]),
        ("drq", ["snapshot=metra.pt", "num_skills=3"], ["num_skills=3", "num_skills=10"]),
        ("drq", ["snapshot=rnd.pt", "num_skills=3"], ["num_skills=3", "method=rnd"]),
        ("drq", ["snapshot=drq.pt", "task=cartpole_swingup"], ["task=cartpole_swingup", "domain=walker"]),
        ("pretrain", ["snapshot=sd3.pt"], ["snapshot=sd3.pt", "dreamer_finetune.py"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_the_key_and_both_values(script, words, named):
    said = refused(script, *words)
    assert all(one in said for one in named), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("script", "words", "key"),
    [
        ("finetune", ["snapshot=sd3.pt", "preset=small"], "preset"),
        ("finetune", ["snapshot=sd3.pt", "rssm.deter=16"], "rssm.deter"),
        ("finetune", ["snapshot=sd3.pt", "critic.units=9", "init_critic=true"], "critic.units"),
        ("finetune", ["snapshot=sd3.pt", "agent=dreamer"], "agent"),
        ("finetune", ["snapshot=sd3.pt", "action_repeat=4"], "action_repeat"),
        ("finetune", ["snapshot=sd3.pt", "configs=dmc_states"], "configs"),
        ("drq", ["snapshot=drq.pt", "num_skills=0"], "num_skills"),
        ("drq", ["snapshot=drq.pt", "render_size=32"], "render_size"),
    ],
    ids=str,
)
def test_the_way_out_that_a_refusal_names_is_one(script, words, key):
    """Typed in place of what was refused: every key that it names."""
    told = re.split("[Ss]et ", refused(script, *words).replace("`", ""))[-1]
    fixes = pasted(told, key)
    replaced = {word.partition("=")[0] for word in fixes}
    settings(script, *(word for word in words if word.partition("=")[0] not in replaced), *fixes)


def test_of_another_kind_of_observation(tmp_path):
    path = made_by(tmp_path / "states.pt", "pretrain", *SD3, obs_type="states")
    said = refused("finetune", override("snapshot", path))
    assert "obs_type=pixels" in said and "obs_type=states" in said


@pytest.mark.parametrize("name", ["a=b c, d.pt", "a ${seed}'b\\.pt", "~é[1].pt"])
def test_any_path(made, tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes((made / "dreamer.pt").read_bytes())
    [word] = shlex.split(override("snapshot", path))
    found, config = settings("finetune", word)
    assert found.task == "cheetah_run" and config["snapshot"] == str(path)


def test_a_path_from_here_from_home_and_by_reference(made, monkeypatch):
    monkeypatch.setenv("HOME", str(made))
    for word in ("snapshot=./dreamer.pt", "snapshot=~/dreamer.pt", "snapshot=${snapshot_base_dir}/dreamer.pt"):
        assert settings("finetune", word, f"snapshot_base_dir={made}")[0].task == "cheetah_run"


def test_a_sweep_takes_over_from_each():
    found = check_overrides("finetune", ["-m", "snapshot=sd3.pt,dreamer.pt", "seed=1,2"])
    assert found.sweep
    assert [(job.agent.name, job.snapshot, job.seed) for job in found.jobs] == [
        ("deviation_dreamer", "sd3.pt", 1),
        ("deviation_dreamer", "sd3.pt", 2),
        ("dreamer", "dreamer.pt", 1),
        ("dreamer", "dreamer.pt", 2),
    ]
    assert [job[TAKEN][0] for job in found.jobs][1:3] == ["agent=deviation_dreamer", "agent=dreamer"]
    both = check_overrides("finetune", ["-m", "snapshot=sd3.pt", "agent.num_init_frames=0,600"]).jobs
    assert [(job.agent.name, job.agent.num_init_frames) for job in both] == [
        ("deviation_dreamer", 0),
        ("deviation_dreamer", 600),
    ]
    found = check_overrides("finetune", ["-m", "snapshot=${project_name}.pt", "project_name=dreamer,sd3"])
    assert found.jobs[0].agent.name == "dreamer"
    with pytest.raises(UserError, match="gone.pt"):
        check_overrides("finetune", ["-m", "snapshot=sd3.pt,gone.pt"])


def test_of_an_agent_file_of_ones_own(made, tmp_path):
    for name, text in {"agent/mine": "defaults: [dreamer]\nname: mine\n", "preset/mine": "batch_size: 7\n"}.items():
        path = tmp_path / f"my/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if "agent" in name else f"# @package _global_\n{text}")
    search = f"hydra.searchpath=[{tmp_path / 'my'}]"
    small = "rssm={deter: 8, hidden: 8, stoch: 2, discrete: 2}"
    path = made_by(tmp_path / "mine.pt", "pretrain", search, "agent=mine", "preset=mine", small, "encoder.cnn_depth=2")
    found, _ = settings("finetune", override("snapshot", path), search)
    assert (found.agent.name, found.batch_size, found.rssm.deter) == ("mine", 7, 8)
    said = refused("finetune", override("snapshot", path))
    assert "agent=mine" in said and "--config-dir" in said
    said = refused("finetune", override("snapshot", path), "agent=dreamer")
    assert "preset=mine" in said and "--config-dir" in said


def test_code_that_the_file_names_is_not_imported(tmp_path):
    path = made_by(tmp_path / "a.pt", "pretrain", *SD3, env_factory="evil.make")
    said = refused("finetune", override("snapshot", path))
    assert "env_factory=evil.make" in said and "cannot be imported" not in said
    named = composed("finetune", [override("snapshot", path), "env_factory=evil.make"])
    assert (named["agent"]["name"], named["domain"]) == ("deviation_dreamer", "evil")


def test_choices_lead_to_no_file_outside_of_the_groups(made, tmp_path):
    path = made_by(tmp_path / "a.pt", "pretrain", *SD3, choices={"agent": "../drq/drq", "preset": "debug"})
    assert "../drq/drq" in refused("finetune", override("snapshot", path))


def test_one_that_says_nothing_of_its_choices(tmp_path):
    """As those of older versions: all its sizes are given one by one."""
    path = made_by(tmp_path / "a.pt", "pretrain", *SD3, choices={})
    found, config = settings("finetune", override("snapshot", path))
    assert found.agent.name == "deviation_dreamer" and found.rssm.deter == 16
    assert {"agent=deviation_dreamer", "rssm.deter=16", "actor.units=16"} <= set(config[TAKEN])
    assert not any(word.startswith("preset") for word in config[TAKEN])


@pytest.mark.parametrize("resume", ["auto", "auto, gone"])
def test_a_run_that_goes_on_needs_its_snapshot_no_more(tmp_path, monkeypatch, resume):
    """The words of its command line are read with the groups that the run has."""
    run = tmp_path / "run"
    (run / "replay").mkdir(parents=True)
    (run / "config.yaml").write_text(
        "phase: finetune\nagent: {}\nseed: 1\nchoices: {agent: deviation_dreamer, preset: debug, configs: dmc_pixels}\n"
    )
    name = "sd3.pt" if resume == "auto" else "gone.pt"
    words = [f"snapshot={name}", "agent.num_init_frames=600", "resume=auto", f"hydra.run.dir={run}"]
    [job] = check_overrides("finetune", words).jobs
    assert (job.agent.name, job.agent.num_init_frames, job.batch_size) == ("deviation_dreamer", 600, 4)


def test_from_files_of_an_older_version(tmp_path):
    unpack(tmp_path)
    for name in (SNAPSHOT, "finetune/finetuned_snapshot.pt"):
        found, _ = settings("finetune", override("snapshot", tmp_path / name))
        assert (found.agent.name, found.task, found.action_repeat, found.rssm.deter) == (
            "diayn_dreamer",
            "pendulum_swingup",
            10,
            8,
        )
    found, _ = settings("drq", override("snapshot", tmp_path / "drq/models/final_model.pt"))
    assert (found.task, found.critic_hidden_dim) == ("pendulum_swingup", 16)


def test_a_run_says_what_it_has_taken_over_and_goes_on_without_its_snapshot(tmp_path, capsys):
    path = made_by(tmp_path / "a b.pt", "pretrain", *SD3, "action_repeat=10", "rssm.deter=12")
    few = [*BLIND, "device=cpu", "progress=false", "num_seed_frames=100", "num_train_frames=210"]
    config = composed("finetune", [override("snapshot", path).strip('"'), "train_every_actions=100", *few])
    run = launch(config, tmp_path / "run", "finetune")
    words = "agent=deviation_dreamer configs=dmc_pixels preset=debug task=walker_stand action_repeat=10 rssm.deter=12"
    assert [line for line in capsys.readouterr().out.splitlines() if str(path) in line and words in line] != []
    stored = read_config(tmp_path / "run")
    assert (stored[TAKEN], stored[CHOICES]["preset"], stored["rssm"]["deter"]) == (words.split(), "debug", 12)
    path.unlink()
    again = launch(config | {"num_train_frames": 230}, tmp_path / "run", "finetune", resume=True)
    assert again.frame == 230 and again.lineage == run.lineage and again.lineage[0]["path"] == str(path)
