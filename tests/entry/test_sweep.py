"""What is done for a sweep as a whole: all jobs are checked, and each knows what it differs in."""

import pytest
from settings_kit import typed
from snapshot_kit import SD3, made_by

from entry.cli import begin, check_overrides
from entry.composing import plain
from entry.settings import settings_of
from entry.sweep import check_jobs
from entry.words import MOST
from training.pretrained import read_source
from utils.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def jobs(script, *words):
    """The settings of the jobs of a sweep, as these will have them."""
    words = ["--multirun", *words]
    found = check_overrides(script, [*words, *begin(check_overrides(script, words))])
    return [settings_of(script, plain(job)) for job in found.jobs]


@pytest.mark.parametrize(
    ("script", "words", "folders"),
    [
        ("pretrain", ["agent=dreamer,random_dreamer", "seed=1,2", "domain=walker"],
         ["pixels/walker/dreamer/1", "pixels/walker/dreamer/2",
          "pixels/walker/random_dreamer/1", "pixels/walker/random_dreamer/2"]),
        ("pretrain", ["agent=deviation_dreamer", "agent.skill_dim=5,6", "seed=3,4"],
         [f"pixels/walker/deviation_dreamer/{seed}/agent.skill_dim={size}" for size in (5, 6) for seed in (3, 4)]),
        ("pretrain", ["configs=dmc_states,dmc_states_ar2", "batch_size=7"],
         ["states/walker/dreamer/1/configs=dmc_states", "states/walker/dreamer/1/configs=dmc_states_ar2"]),
        ("pretrain", ["batch_size=7,8", "snapshot_dir=mine"], ["mine", "mine"]),
        ("pretrain", ["batch_size=7,8", "snapshot_variant=x"], ["pixels/walker/dreamer/1/x"] * 2),
        ("offline_train", ["dataset=exorl,mine", "batch_size=7,8"],
         [f"{data}/proto/walker/choreo/1/batch_size={size}" for data in ("exorl", "mine") for size in (7, 8)]),
        ("drq", ["task=walker_run,walker_walk", "num_skills=0", "seed=1,2"],
         [f"pixels/walker/drq/{seed}/task=walker_{task}" for task in ("run", "walk") for seed in (1, 2)]),
    ],
)  # fmt: skip
def test_snapshots_of_jobs_that_differ_in_more_do_not_meet(script, words, folders, here):
    found = [settings.snapshot_dir for settings in jobs(script, *words)]
    base = "offline_models" if script == "offline_train" else "pretrained_models"
    assert found == [folder if folder == "mine" else f"{base}/{folder}" for folder in folders]


def test_a_single_run_keeps_the_published_path():
    [job] = check_overrides("pretrain", ["agent=deviation_dreamer", "agent.skill_dim=5"]).jobs
    settings = settings_of("pretrain", plain(job))
    assert settings.snapshot_dir == "pretrained_models/pixels/walker/deviation_dreamer/1"
    assert settings.snapshot_variant is None


def test_fine_tuning_starts_from_the_variant_it_names(here):
    for folder, words in (("", []), ("agent.skill_dim=5/", ["agent.skill_dim=5"])):
        path = here / f"pretrained_models/pixels/walker/deviation_dreamer/1/{folder}snapshot_7.pt"
        made_by(path, "pretrain", *SD3, *words)
    for words, size in (([], 4), (["snapshot_variant='agent.skill_dim=5'"], 5)):
        assert read_source(finetuning(*words)).content["config"]["agent"]["skill_dim"] == size
    with pytest.raises(UserError, match=r"other.snapshot_7\.pt(.|\n)*agent.skill_dim=5.snapshot_7\.pt"):
        read_source(finetuning("snapshot_variant=other"))
    with pytest.raises(UserError, match="snapshot_variant=other"):
        finetuning("snapshot_ts=null", "snapshot=a.pt", "snapshot_variant=other")


def finetuning(*words):
    return typed("finetune", "preset=debug", "agent=deviation_dreamer", "snapshot_ts=7", *words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["seed=1,2", "domain=walker,hoper"], ["job 1 of 4 (seed=1 domain=hoper)", "Did you mean domain=hopper?"]),
        (["batch_length=9,9999999"], ["job 1 of 2 (batch_length=9999999)", "batch_length=9999999"]),
        (["agent=deviation_dreamer,dreamer", "agent.skill_dim=3,4"], ["job 2 of 4 (agent=dreamer agent.skill_dim=3)"]),
        (["seed=range(0,1000)", "agent=dreamer,random_dreamer", "batch_size=-1"], ["batch_size=-1"]),
        (["seed=3", "batch_size=-1"], ["batch_size=-1"]),
        (["seed=1,2", "project_name=${nowhere}"], ["job 0 of 2 (seed=1)", "nowhere"]),
    ],
    ids=str,
)
def test_a_sweep_with_a_bad_job_is_refused_as_a_whole(words, named, here):
    with pytest.raises(UserError) as refused:
        check_jobs("pretrain", check_overrides("pretrain", ["--multirun", "preset=debug", *words]))
    assert all(part in str(refused.value) for part in named), str(refused.value)
    assert list(here.iterdir()) == []


def test_all_jobs_are_known_in_the_order_of_hydra():
    known = check_overrides("pretrain", ["-m", "agent=dreamer,random_dreamer", "seed=2,1", "preset=debug"]).known
    order = [(agent, seed) for agent in ("dreamer", "random_dreamer") for seed in (2, 1)]
    assert known.words == [[f"agent={agent}", f"seed={seed}", "preset=debug"] for agent, seed in order]
    assert known.whole and known.swept == ("agent", "seed")
    huge = check_overrides("pretrain", ["-m", f"seed=range({MOST})", "agent=dreamer,random_dreamer"]).known
    assert not huge.whole and huge.words == [["seed=0", "agent=dreamer"], ["seed=0", "agent=random_dreamer"]]


def test_a_job_that_goes_on_is_not_checked_anew(here):
    words = ["-m", "batch_size=4,-1", "hydra.sweep.dir=jobs", "resume=auto", "preset=debug"]
    with pytest.raises(UserError, match="job 1 of 2"):
        check_jobs("pretrain", check_overrides("pretrain", words))
    (here / "jobs/1").mkdir(parents=True)
    (here / "jobs/1/config.yaml").write_text("agent: {name: dreamer}\nseed: 1\n")
    check_jobs("pretrain", check_overrides("pretrain", words))
