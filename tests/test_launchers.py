"""What sweeps that are launched as processes of their own need; the launchers themselves are extras."""

import multiprocessing
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from entry.cli import begin, check_overrides
from entry.composing import Places, hydra_for, read_words
from entry.launchers import lost, of_launcher
from entry.scripts import SCRIPTS
from envs.vector import make_vector
from utils.config import CONFIGS
from utils.errors import UserError

READY = sorted(path.stem for path in (CONFIGS / "launcher").glob("*.yaml"))


@pytest.fixture
def sweep():
    return check_overrides("pretrain", ["--multirun", "seed=1,2"])


def test_the_packages_are_found_from_any_folder(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.chdir(tmp_path)
    begin(sweep)
    code = "import sys, entry.cli, utils.config; assert '/somewhere' in sys.path"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_single_run_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert begin(check_overrides("pretrain", ["seed=1"])) == []
    import os

    assert os.environ["PYTHONPATH"] == "/somewhere"


@pytest.mark.parametrize("script", SCRIPTS)
def test_two_sweeps_of_the_same_second_have_folders_of_their_own(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    other = {"drq": "num_skills", "rest": "method"}.get(script, "agent")
    values = {"num_skills": "0,2", "method": "rest,diayn", "agent": "choreo,dreamer"}[other]
    words = ["--multirun", f"{other}={values}", "seed=1,2"]
    found = check_overrides(script, words)  # Hydra keeps the time it has once told
    names = []
    for word in (begin(found)[0], begin(found)[0]):
        jobs = check_overrides(script, [*words, word]).jobs
        [name] = {str(OmegaConf.select(job, "hydra.sweep.dir")) for job in jobs}
        names.append(name)
    assert len(jobs) > 1 or script in ("drq", "rest")
    assert names[1] == f"{names[0]}_2" and re.search(r"\d\d-?\d\d-?\d\d$", names[0])
    assert all((tmp_path / name).is_dir() for name in names)


@pytest.mark.parametrize(
    ("folder", "found"),
    [("there", "there"), ("../x/${now:%Y}_${agent.name}", "../x/[0-9]{4}_dreamer"), ("/there", None)],
)
def test_a_folder_that_the_user_names_is_the_same_wherever_a_job_runs(folder, found, tmp_path, monkeypatch):
    """Whose process may have started in another folder, as those of a Ray cluster have. Nothing is made."""
    here = tmp_path / "a${b}"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", "")
    words = ["-m", "seed=1,2", f"hydra.sweep.dir='{folder}'"]
    more = [word for word in begin(check_overrides("pretrain", words)) if word.startswith("hydra.sweep.dir")]
    if found is None:
        assert more == []
        return
    for job in check_overrides("pretrain", [*words, *more]).jobs:
        assert re.fullmatch(f"{re.escape(str(here))}/{found}", str(OmegaConf.select(job, "hydra.sweep.dir")))
    assert list(here.iterdir()) == []


def test_slurm_without_slurm_is_refused_before_anything_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "")
    sweep.jobs[0].hydra.runtime.choices["hydra/launcher"] = "slurm"
    sweep.jobs[0].hydra.launcher._target_ = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    with pytest.raises(UserError, match="hydra/launcher=slurm.*srun"):
        begin(sweep)
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_an_objective_is_refused_and_one_with_it_is_not(tmp_path, monkeypatch):
    """Optuna's would run all trials and then fail."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    words = ["-m", "hydra.sweep.dir=/there", "hydra.sweeper._target_=hydra_plugins.x.Sweeper"]
    with pytest.raises(UserError, match="hydra/sweeper=.*objective=null"):
        begin(check_overrides("pretrain", words))
    for more in ("objective=train/episode_reward", "evaluate=true"):
        begin(check_overrides("pretrain", [*words, more]))
    begin(check_overrides("pretrain", words[:-1]))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_the_ready_launchers(script):
    assert READY == ["processes", "ray_cluster", "ray_here", "slurm", "slurm_here"]
    asked = read_words(["--multirun"])
    with hydra_for(script, asked) as hydra:
        assert {*READY, "basic"} <= set(Places(hydra, script, asked).options("hydra/launcher"))


@pytest.mark.parametrize("launcher", READY)
def test_a_ready_launcher_is_one_of_its_package(launcher):
    """Which refuses keys that it does not know."""
    package = {"processes": "joblib", "slurm": "submitit", "slurm_here": "submitit"}.get(launcher, "ray")
    pytest.importorskip(f"hydra_plugins.hydra_{package}_launcher")
    jobs = check_overrides("pretrain", ["-m", "seed=1,2", f"hydra/launcher={launcher}"]).jobs
    assert package in jobs[0].hydra.launcher._target_ and jobs[0].hydra.runtime.choices["hydra/launcher"] == launcher


def raised_in(module, function, job=None):
    """The error of a call of ``function`` in ``module``, which calls ``job``."""
    names = {"__name__": module, "job": job}
    exec(f"def {function}():\n    job() if job else 1 / 0\n", names)
    with pytest.raises(Exception) as caught:
        names[function]()
    return caught.value


def test_an_error_of_a_launcher_is_told_from_one_of_a_job():
    assert of_launcher(raised_in("hydra_plugins.hydra_x_launcher._core", "launch"))
    below = raised_in("hydra_plugins.x", "launch", lambda: raised_in("x", "y").with_traceback(None).args[0] + 1)
    assert of_launcher(below)
    assert not of_launcher(raised_in("hydra_plugins.hydra_optuna_sweeper._impl", "sweep"))
    assert not of_launcher(raised_in("hydra._internal.core_plugins.basic_launcher", "launch"))


def test_a_launcher_that_gives_up_says_how_to_go_on(tmp_path):
    said = str(lost(RuntimeError(f"\n  a worker was {'very ' * 60}lost\nmore"), tmp_path / "a b"))
    assert "RuntimeError: a worker was very" in said and "more" not in said.partition(")")[0] and len(said) < 700
    words = shlex.split(said.partition(", add ")[2].partition(" to the command")[0])
    [job, _] = check_overrides("pretrain", ["-m", "seed=1,2", *words]).jobs
    assert Path(job.hydra.sweep.dir) == tmp_path / "a b" and job.resume == "auto"


def test_environments_in_processes_of_their_own_within_a_joblib_worker():
    """Whose default way to start processes is one that no other process knows."""
    pytest.importorskip("joblib.externals.loky")  # adds it
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("loky", force=True)
    try:
        envs = make_vector("walker_stand", 2, seed=1, workers=True, timeout=60.0, obs_type="states")
        try:
            observation, _ = envs.reset()
            assert observation["observation"].shape[0] == 2
            envs.step(envs.action_space.sample())
        finally:
            envs.close()
        assert multiprocessing.get_start_method() == "loky"
    finally:
        multiprocessing.set_start_method(before, force=True)
