"""What sweeps that are launched as processes of their own need; the launchers themselves are extras."""

import multiprocessing
import subprocess
import sys

import pytest

from entry.cli import begin, check_overrides
from envs.vector import make_vector
from utils.errors import UserError


@pytest.fixture
def sweep():
    return check_overrides("pretrain", ["--multirun", "seed=1,2"])


def test_the_packages_are_found_from_any_folder(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    begin(sweep)
    code = "import sys, entry.cli, utils.config; assert '/somewhere' in sys.path"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_single_run_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert begin(check_overrides("pretrain", ["seed=1"])) == []
    import os

    assert os.environ["PYTHONPATH"] == "/somewhere"


def test_slurm_without_slurm_is_refused_before_anything_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "")
    sweep.jobs[0].hydra.runtime.choices["hydra/launcher"] = "submitit_slurm"
    with pytest.raises(UserError, match="hydra/launcher=submitit_slurm.*srun"):
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
