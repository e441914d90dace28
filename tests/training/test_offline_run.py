"""The offline run: every agent that can learn from data of others, what it writes, and that it goes on exactly."""

import csv
import os
import random
import shutil

import numpy as np
import pytest
from dataset_kit import exorl_collected, exorl_noise
from kill_kit import Kill, assert_same_runs, differing, in_child, play
from run_kit import AGENTS, DEBUG
from settings_kit import typed

from agents.choreographer.setup import Explorer
from agents.exploration.build import method_class
from analysis import exorl
from analysis.snapshot_tool import build_env
from doctoring.needs import data_set
from doctoring.request import read
from entry.settings import composed, settings_of
from entry.start import launch
from entry.stored import CHOICES
from envs.relabel import relabeller
from preflight.data_forecast import data_forecast
from replay.converted import CACHE_VARIABLE
from replay.exorl import episode_files
from training import checkpoint
from training.contents import check_finite
from training.interrupt import StopSignal
from training.layouts import OFFLINE
from training.learner import Learner, NumericalFault
from training.restored import restore_agent
from training.run import CHECKPOINT, GaveUp
from utils.errors import UserError

WITHOUT_SKILLS = [
    agent for agent in AGENTS if not method_class(typed("pretrain", f"agent={agent}").agent.method).needs_skills
]
CALLS = {"update": 4000, "checkpoint": 20_000, "publish": 4000}
"""Function calls in there, about."""
FINETUNE = (
    "configs=dmc_states",
    *DEBUG,
    "num_train_frames=1050",
    "evaluate=false",
    "save_video=false",
    "dataset=exorl",
)


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(settings, tmp_path):
    """``config(*words)``: a small run on a small data set."""

    def made(*words, domain="walker"):
        folder = tmp_path / "data" / domain / "rnd" / "buffer"
        if not folder.is_dir():
            exorl_noise(folder, domain)
        data = (f"domain={domain}", "collection_method=rnd", f"dataset_dir={folder}")
        few = ("num_train_updates=6", "snapshots=[4]", "log_every_updates=3", "use_tb=false")
        return settings("offline_train", *DEBUG, *data, *few, *words)

    return made


def rows(run):
    with (run.run_dir / "train.csv").open() as file:
        return list(csv.DictReader(file))


def test_agents_that_learn_from_stored_skills_are_those_that_say_so():
    known = {"aps_dreamer", "cic_dreamer", "deviation_dreamer", "diayn_dreamer", "metra_dreamer"}
    assert set(AGENTS) - set(WITHOUT_SKILLS) == known


@pytest.mark.parametrize("agent", WITHOUT_SKILLS)
def test_every_agent_learns_from_files_and_is_finetuned(config, settings, tmp_path, agent):
    run = launch(config(f"agent={agent}"), tmp_path / "run", "offline_train")
    assert run.updates == run.step == run.frame == run.agent.updates == 6
    check_finite(run.agent.training_state()["modules"])
    (path,) = run.files
    assert path == tmp_path / "offline_models" / "exorl" / "rnd" / "walker" / agent / "1" / "snapshot_4.pt"
    content = checkpoint.load(path, "snapshot")
    assert (content["agent"], content["phase"], content["updates"], content["frame"]) == (agent, "offline", 4, 4)
    assert content["spec"] == {"observation": [[24], "<f4"], "action": [[6], "<f4"]}
    stored = {key: content["config"][key] for key in ("dataset", "collection_method", "obs_type", "action_repeat")}
    assert list(stored.values()) == ["exorl", "rnd", "states", 1]
    assert differing(restore_agent(content).snapshot_modules(), content["modules"]) == []

    words = (*FINETUNE, f"agent={agent}", "task=walker_run", "from_offline=true", "collection_method=rnd")
    tuned = launch(settings("finetune", *words, "snapshot_ts=4"), tmp_path / "ft", "finetune")
    assert tuned.updates > 0 and tuned.lineage[0]["path"] == str(path)


def test_a_snapshot_has_seen_so_many_updates_and_the_log_has_a_row_for_every_so_many(config, tmp_path):
    long = launch(config("num_train_updates=9"), tmp_path / "long", "offline_train")
    four = launch(config("num_train_updates=4", "snapshots=[]"), tmp_path / "short", "offline_train")
    saved = checkpoint.load(long.files[0], "snapshot")["modules"]
    assert differing(saved, four.agent.snapshot_modules()) == []
    assert differing(saved, long.agent.snapshot_modules())
    log = rows(long)
    assert [row["step"] for row in log] == [row["frame"] for row in log] == ["3", "6", "9"]
    assert list(log[0])[: len(OFFLINE.columns["train"])] == list(OFFLINE.columns["train"])
    assert all(float(row["model_loss"]) > 0 for row in log)


def test_choreographer_learns_model_codes_and_skills_and_explores_nothing(config, tmp_path):
    run = launch(config("agent=choreo"), tmp_path / "run", "offline_train")
    assert isinstance(run.agent.pilot, Explorer) and [*run.agent.drives] == ["skill"]
    parts = set(run.agent.snapshot_modules())
    world = {"encoder", "rssm", "decoder", "reward_head"}
    assert parts - world == {f"skill_{part}" for part in ("actor", "critic", "slow_critic", "method", "skills")} | {
        "skill_method_finetune"
    }
    assert not any(name.startswith("lbs") for name in run.newest) and run.newest["reward_loss"].isfinite()


def test_rewards_are_the_stored_ones_or_those_of_another_task(config, tmp_path):
    folder = exorl_collected(tmp_path / "data" / "walker" / "rnd" / "buffer", "walker_stand")
    files = [np.load(file.path) for file in episode_files(folder)]
    for number, (words, rewards) in enumerate(
        [
            ((), lambda file: file["reward"][:, 0]),
            (("relabel_task=walker_run",), lambda file: relabeller("walker_run")(file["physics"])),
        ]
    ):
        run = launch(config("agent=dreamer", *words), tmp_path / f"run{number}", "offline_train")
        learned = np.concatenate([episode["reward"] for episode in run.replay.history("reward")])
        assert np.array_equal(learned, np.concatenate([rewards(file) for file in files]).astype(np.float32))
        assert run.settings.task == ("walker_run" if words else "walker_stand")


def test_of_a_data_set_only_the_first_transitions_are_taken(config, tmp_path):
    run = launch(config("replay.capacity=50"), tmp_path / "run", "offline_train")
    assert run.replay.steps == 60 and run.replay.num_episodes == 2  # whole files, until there are 50


def test_the_forecast_is_what_the_conversion_takes_and_nothing_once_it_is_there(config, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    asked = config("replay.capacity=100")
    settings = typed("offline_train", *DEBUG, f"dataset_dir={asked['dataset_dir']}", "replay.capacity=100")
    need = data_forecast(settings, "offline")
    assert need.cache == tmp_path / "cache" / "exorl" and need.layout is None
    launch(asked, tmp_path / "run", "offline_train")
    taken = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert taken <= need.converted <= taken + 2**20
    after = data_forecast(settings, "offline")
    assert after.converted == 0 and need.disk - after.disk == need.converted


# ---- going on


@pytest.mark.parametrize("agent", ["choreo", pytest.param("rnd_dreamer", marks=pytest.mark.long)])
def test_stopped_and_resumed_is_the_uninterrupted_run(config, tmp_path, agent):
    asked = config(f"agent={agent}", "snapshot_dir=null")
    launch(asked, tmp_path / "whole", "offline_train")
    launch(asked | {"num_train_updates": 3}, tmp_path / "run", "offline_train")
    resumed = launch(asked, tmp_path / "run", "offline_train", resume=True)
    assert resumed.updates == 6
    assert_same_runs(tmp_path / "whole", tmp_path / "run", ("config.num_train_updates",))


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.long)])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(config, tmp_path, count):
    draw = random.Random(count)
    asked = config("num_train_updates=40", "snapshots=[10,20,35]", "snapshot_dir=null", "log_every_updates=2")
    kills = []
    for number, step in enumerate(sorted(draw.sample(range(3, 38), count))):
        place = list(CALLS)[number % len(CALLS)]
        if place == "publish":
            step = max(mark for mark in (0, 10, 20, 35) if mark <= step)
        kills.append(Kill(step, place, draw.randint(1, CALLS[place])))
    kills.sort(key=lambda kill: kill.step)
    for name, planned in (("whole", []), ("killed", kills)):
        log = tmp_path / f"{name}.log"
        for number, kill in enumerate([*planned, None]):
            code = in_child(play, asked, tmp_path / name, "offline_train", number > 0, kill, log)
            assert code == (0 if kill is None else -9), log.read_text()[-3000:]
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


def test_data_that_were_touched_are_the_same_and_data_that_have_changed_are_refused(config, tmp_path):
    asked = config("snapshot_dir=null")
    folder = tmp_path / "data" / "walker" / "rnd" / "buffer"
    launch(asked, tmp_path / "whole", "offline_train")
    launch(asked | {"num_train_updates": 3}, tmp_path / "run", "offline_train")
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    again = launch(asked | {"dataset_dir": str(moved)}, tmp_path / "run", "offline_train", resume=True)
    assert again.updates == 6
    apart = ("config.num_train_updates", "config.dataset_dir")
    assert_same_runs(tmp_path / "whole", tmp_path / "run", apart)

    path = sorted(folder.iterdir())[0]
    with np.load(path) as file:
        arrays = dict(file)
    arrays["reward"][5] += 1
    np.savez_compressed(path, **arrays)
    longer = asked | {"num_train_updates": 8}
    before = {file: file.read_bytes() for file in (tmp_path / "whole").rglob("*") if file.is_file()}
    with pytest.raises(UserError) as refused:
        launch(longer, tmp_path / "whole", "offline_train", resume=True)
    assert str(folder) in str(refused.value) and "120 transitions" in str(refused.value)
    assert {file: file.read_bytes() for file in (tmp_path / "whole").rglob("*") if file.is_file()} == before


def test_a_checkpoint_of_another_kind_of_run_or_of_other_counts_is_refused(config, tmp_path):
    asked = config("agent=dreamer", "snapshots=[]")
    launch(asked, tmp_path / "run", "offline_train")
    path = tmp_path / "run" / CHECKPOINT
    content = checkpoint.load(path, "checkpoint")
    for change in ({"loop": "on_policy", "envs": {}}, {"frame": 7}, {"counters": content["counters"] | {"updates": 5}}):
        checkpoint.save(path, "checkpoint", content | change)
        with pytest.raises(UserError, match=CHECKPOINT):
            launch(asked, tmp_path / "run", "offline_train", resume=True)


def test_updates_that_are_left_out_do_not_count(config, tmp_path, monkeypatch):
    update, calls = Learner.update, []

    def faulty(self):
        calls.append(None)
        if len(calls) in (2, 3):
            raise NumericalFault("model_loss", float("nan"))
        return update(self)

    monkeypatch.setattr(Learner, "update", faulty)
    run = launch(config("on_nan=skip"), tmp_path / "run", "offline_train")
    assert (run.updates, run.step, run.counters.skipped, len(calls)) == (6, 6, 2, 8)
    calls.clear()
    with pytest.raises(GaveUp, match="model_loss"):
        launch(config(), tmp_path / "stops", "offline_train")
    assert checkpoint.load(tmp_path / "stops" / CHECKPOINT)["counters"]["updates"] == 1


# ---- fine-tuning


def test_on_jaco_the_environment_is_the_one_of_the_data(config, settings, tmp_path):
    exorl_collected(tmp_path / "data" / "jaco" / "rnd" / "buffer", "jaco_reach_top_left")
    run = launch(config("agent=dreamer", domain="jaco"), tmp_path / "run", "offline_train")
    assert run.data.sizes == (42, 9, 18)
    words = (*FINETUNE, "agent=dreamer", "task=jaco_reach_bottom_left", "snapshot_ts=4")
    asked = settings("finetune", *words, "from_offline=true", "collection_method=rnd")
    tuned = launch(asked, tmp_path / "ft", "finetune")
    record = tuned.replay.layout.dtype
    assert record["observation"].shape == (42,) and record["physics"].shape == (18,)
    env = build_env(checkpoint.load(run.files[0])["config"], 0)
    assert env.observation_space["observation"].shape == (42,)
    other = asked | {"dataset": "others", "custom_snap_dir": str(run.files[0].parent)}
    with pytest.raises(UserError, match=r"dataset=others: .*dataset=exorl"):
        launch(other, tmp_path / "other", "finetune")


def test_a_missing_snapshot_is_answered_with_those_that_exist(config, settings, tmp_path):
    run = launch(config("agent=dreamer", "snapshots=[2,5]"), tmp_path / "run", "offline_train")
    words = (*FINETUNE, "agent=dreamer", "from_offline=true", "snapshot_ts=3")
    with pytest.raises(UserError, match="snapshot_ts=2 or snapshot_ts=5"):
        launch(settings("finetune", *words, "collection_method=rnd"), tmp_path / "ft", "finetune")
    with pytest.raises(UserError) as refused:
        launch(settings("finetune", *words, "collection_method=proto"), tmp_path / "ft", "finetune")
    assert all(str(path) in str(refused.value) for path in run.files)


@pytest.mark.parametrize(
    ("kind", "key", "fix"),
    [("dmc_states_ar2", "action_repeat=2", "action_repeat=1"), ("dmc_pixels", "obs_type=pixels", "obs_type=states")],
)
def test_another_repeat_or_kind_of_observation_is_refused(config, settings, tmp_path, kind, key, fix):
    launch(config("agent=dreamer"), tmp_path / "run", "offline_train")
    words = (*FINETUNE[1:], f"configs={kind}", "agent=dreamer", "from_offline=true", "collection_method=rnd")
    with pytest.raises(UserError) as refused:
        launch(settings("finetune", *words, "snapshot_ts=4"), tmp_path / "ft", "finetune")
    assert key in str(refused.value) and fix in str(refused.value)


def test_a_snapshot_named_by_its_path_brings_its_task_its_sizes_and_its_data_set(config, tmp_path):
    exorl_noise(tmp_path / "data" / "jaco" / "rnd" / "buffer", "jaco")
    words = ("agent=dreamer", "relabel_task=jaco_reach_top_right", "rssm.deter=12")
    groups = {CHOICES: {"agent": "dreamer", "configs": "dmc_states", "preset": "debug"}}
    run = launch(config(*words, domain="jaco") | groups, tmp_path / "run", "offline_train")
    asked = settings_of("finetune", composed("finetune", [f"snapshot={run.files[0]}"]))
    found = asked.agent.name, asked.task, asked.obs_type, asked.action_repeat, asked.rssm.deter
    assert found == ("dreamer", "jaco_reach_top_right", "states", 1, 12)
    assert asked.exorl and not asked.from_offline
    text = f"snapshot={run.files[0]}"
    with pytest.raises(UserError, match="from_offline=true"):
        settings_of("finetune", composed("finetune", [text, "from_offline=true", "collection_method=rnd"]))


def test_a_stop_signal_ends_a_conversion_and_the_next_run_goes_on_with_it(config, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    asked = config("agent=dreamer")
    with StopSignal() as stop:
        stop.received = True
        with pytest.raises(KeyboardInterrupt):
            launch(asked, tmp_path / "run", "offline_train")
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    (part,) = (tmp_path / "cache" / "exorl").glob("*.part")
    launch(asked, tmp_path / "run", "offline_train")
    assert not part.exists() and len(list((tmp_path / "cache" / "exorl").iterdir())) == 1


def test_doctor_looks_at_the_data(config, tmp_path):
    folder = config()["dataset_dir"]

    def row(*words):
        return data_set(read(["offline_train.py", *DEBUG, *words]))

    assert "4 files, 120 transitions" in row(f"dataset_dir={folder}").found
    with pytest.raises(UserError, match="nowhere"):
        row("dataset_dir=nowhere")
    assert "not needed" in data_set(read([*DEBUG])).found


def test_a_run_of_ours_is_the_data_of_another_whose_agent_is_finetuned(settings, tmp_path):
    own = settings(
        "pretrain", *DEBUG, "configs=dmc_states", "agent=random_dreamer", "num_train_frames=2010", "snapshots=[]",
        "evaluate=false", "save_video=false",
    )  # fmt: skip
    launch(own, tmp_path / "own", "pretrain")
    folder = tmp_path / "urlb" / "walker" / "random" / "buffer"
    exorl.main(["export", str(tmp_path / "own"), str(folder)])
    data = ("domain=walker", "collection_method=random", f"dataset_dir={folder}")
    few = ("num_train_updates=12", "snapshots=[10]")
    learned = launch(settings("offline_train", *DEBUG, "agent=choreo", *data, *few), tmp_path / "run", "offline_train")
    assert (learned.replay.num_episodes, learned.replay.steps) == (2, 2000)
    words = ("agent=choreo", "task=walker_run", "from_offline=true", "collection_method=random", "snapshot_ts=10")
    tuned = launch(settings("finetune", *FINETUNE, *words), tmp_path / "ft", "finetune")
    assert tuned.updates > 0 and tuned.lineage[0]["path"] == str(learned.files[0])
    before, after = (checkpoint.load(path)["modules"]["skill_method"] for path in (learned.files[0], tuned.files[-1]))
    assert differing(before, after) == []  # the codes stay as they were learned
