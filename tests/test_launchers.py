"""What sweeps that are launched as processes of their own need; the launchers themselves are extras."""

import multiprocessing
import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from entry.cli import begin, check_overrides
from entry.scripts import SCRIPTS
from envs.vector import make_vector
from utils.errors import UserError


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
