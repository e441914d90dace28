"""Which runs a study has, their commands, and the studies that ship with the project."""

import shlex
from collections import Counter

import pytest

from analysis.evaluate import parser
from entry.settings import composed, settings_of
from studying.check import PHASES, bare_words, check_commands
from studying.command import main
from studying.plan import Places, chosen, plan
from studying.settings import STUDIES, read_request
from utils.config import CONFIGS
from utils.errors import UserError
from utils.words import parse_words

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))


def planned(*words):
    return plan(read_request(words))


def test_every_study_that_ships_is_checked_and_dry_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in STUDIES.glob("*.yaml"):
        runs = planned(f"study={path.stem}")
        assert main([f"study={path.stem}", "dry_run=true", "measure=false"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if ".py " in line]
        assert len(lines) == len(runs)
    assert list(tmp_path.iterdir()) == []


def by_kind(runs):
    return Counter(run.kind if run.needs or run.kind == "pretrain" else "scratch" for run in runs)


def test_walker_states_small():
    runs = planned("study=walker_states_small")
    less = 2 * 2 * 3  # two more snapshots of two pre-trainings, three seeds
    variants = 2 * 2 * 3
    assert by_kind(runs) == {
        "pretrain": 5 * 2,
        "skills": 3 * 2,
        "scratch": 3 * 3,
        "finetune": 5 * 3 * 2 * 3 + less + variants,
    }
    assert {run.agent for run in runs} == {
        *("lbs_dreamer", "plan2explore", "deviation_dreamer", "choreo", "random_dreamer", "dreamer")
    }
    marks = {run.agent: next(word for word in run.words if "snapshots=" in word) for run in runs[:10]}
    assert marks.pop("lbs_dreamer") == '"snapshots=[50000,100000,150000]"'
    assert set(marks.values()) == {'"snapshots=[150000]"'}
    assert all("num_train_frames=150000" in run.words for run in runs[:10])
    assert {run.task for run in runs if run.pretrain_frames in (50_000, 100_000)} == {"walker_walk"}


def test_walker_pixels_small():
    runs = planned("study=walker_pixels_small")
    assert by_kind(runs) == {"pretrain": 3, "skills": 2, "scratch": 2 * 3, "finetune": 3 * 2 * 3}
    assert {run.frames for run in runs} == {80_000, 20_000, 0}


def test_the_published_protocol():
    runs = planned("study=urlb_pixels")
    planned_too = 12 * 3
    assert by_kind(runs) == {"pretrain": 13 * 3 * 3, "scratch": 12 * 3, "finetune": 13 * 12 * 3 + planned_too}
    assert sorted({run.agent for run in runs}) == AGENTS
    assert all(run.seed == run.pretrain_seed for run in runs if run.needs)
    [words] = [run.words for run in runs if run.name == "quadruped_jump-icm_dreamer-p2-2000000-s2"]
    assert {"preset=published", "task=quadruped_jump", "seed=2", "num_train_frames=100010"} <= set(words)


def test_a_study_that_learns_from_data(tmp_path):
    runs = planned("study=choreographer_exorl")
    assert by_kind(runs) == {"pretrain": 3 * 3 * 3, "scratch": 12 * 3, "finetune": 3 * 12 * 3}
    places = Places(tmp_path, "states")
    before = next(run for run in runs if run.name == "pretrain-jaco-choreo-p2")
    assert before.script == "offline_train.py" and before.frames == 200_001
    words = shlex.split(" ".join(places.words(before)))
    settings = settings_of("offline_train", composed("offline_train", words))
    assert (settings.collection_method, settings.num_train_updates, settings.snapshots) == ("rnd", 200_001, [200_000])
    after = next(run for run in runs if run.needs == before.name)
    assert after.script == "dreamer_finetune.py" and after.data == ("exorl", "rnd")
    assert f"{settings.snapshot_dir}/snapshot_200000.pt" == str(places.snapshot(after))
    tuned = settings_of("finetune", composed("finetune", bare_words(after)))
    assert tuned.from_offline and tuned.dataset == "exorl"
    scratch = next(run for run in runs if run.needs is None and run.kind == "finetune")
    assert scratch.data == () and "dataset=exorl" in scratch.words


@pytest.mark.parametrize(
    "words, said",
    [
        (["pretrain.updates=5"], ["pretrain.frames", "pretrain.updates"]),
        (["pretrain.frames=null"], ["pretrain.frames", "pretrain.updates"]),
        (["pretrain.frames=null", "pretrain.updates=5"], ["pretrain.collection_method"]),
        (["pretrain.collection_method=rnd"], ["pretrain.updates"]),
        (
            ["pretrain.frames=null", "pretrain.updates=5", "pretrain.collection_method=rnd", "variants={}"],
            ["pretrain.updates=150000"],
        ),
    ],
)
def test_pre_training_is_in_environments_or_on_data(words, said):
    with pytest.raises(UserError) as error:
        planned("study=walker_states_small", *words)
    assert all(part in str(error.value) for part in said)


def test_missing_data_are_one_message_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    where = "pretrain.overrides=['dataset_dir=nowhere']"
    assert main(["study=choreographer_exorl", "agents=[choreo]", "tasks=[walker_run]", "jobs=1", where]) == 1
    error = capsys.readouterr().err
    assert "pretrain-walker-choreo-p1" in error and "nowhere" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_are_all_different_and_needs_are_there():
    for study in ("walker_states_small", "urlb_pixels"):
        runs = planned(f"study={study}")
        names = [run.name for run in runs]
        assert len(set(names)) == len(names)
        for number, run in enumerate(runs):
            assert run.needs is None or run.needs in names[:number]


def test_commands_are_what_a_user_could_type(tmp_path):
    """Hydra reads them, and what it makes of them is the run that was planned."""
    runs = planned("study=walker_states_small", "overrides=['experiment=a b','save_video=false']")
    places = Places(tmp_path / "a, b", "states")
    before = next(run for run in runs if run.kind == "pretrain" and run.agent == "lbs_dreamer")
    words = shlex.split(" ".join(places.words(before)))
    settings = settings_of("pretrain", composed("pretrain", words))
    assert settings.snapshots == [50_000, 100_000, 150_000] and settings.agent.name == "lbs_dreamer"
    assert settings.experiment == "a b" and settings.obs_type == "states" and not settings.save_video
    after = next(run for run in runs if run.needs == before.name and run.kind == "finetune")
    assert f"{settings.snapshot_dir}/snapshot_150000.pt" == str(places.snapshot(after))
    tuned = settings_of("finetune", composed("finetune", bare_words(after)))
    assert (tuned.task, tuned.seed, tuned.num_train_frames) == (after.task, after.seed, 30_000)
    skills = next(run for run in runs if run.kind == "skills")
    options = parse_words(shlex.split(" ".join(places.words(skills))), parser())
    assert options.snapshot == str(places.snapshot(skills)) and options.episodes == 3
    assert options.json.with_suffix("") == places.run(skills)
    [resume] = places.words(after, resume=True)
    assert str(places.run(after)) in resume and resume != f"resume={places.run(after)}"  # quoted


def test_a_part_of_a_study_has_what_it_needs():
    runs = planned("study=walker_states_small")
    part = chosen(runs, ["lbs_dreamer", "walker_run"])
    assert by_kind(part) == {"pretrain": 2, "finetune": 6}
    assert chosen(runs, None) == runs
    assert by_kind(chosen(runs, "walker_run")) == {"pretrain": 10, "skills": 2, "scratch": 3, "finetune": 30}
    assert by_kind(chosen(runs, "dreamer")) == {"scratch": 9}


@pytest.mark.parametrize(
    "words, said",
    [
        (["finetune.overrides=['evaluate=false']"], ["evaluate=false"]),
        (["variants.odd={agents: [choreo], overrides: ['init_actr=false']}"], ["init_actor", "odd"]),
    ],
)
def test_what_the_scripts_would_refuse_is_refused_before(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study=walker_states_small", "agents=[choreo]", "variants={}", "skills=null", *words]) == 1
    error = capsys.readouterr().err
    assert all(part in error for part in said), error
    assert list(tmp_path.iterdir()) == []


def test_what_is_observed_is_asked_of_the_scripts():
    assert check_commands([]) == "pixels"
    runs = planned("study=walker_states_small", "agents=[choreo]", "variants={}", "skills=null")
    assert check_commands(runs) == "states"
    assert set(PHASES) >= {run.script for run in runs}
