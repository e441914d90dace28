"""``resume=latest`` finds runs wherever they lie, and only those of the script that asks."""

import os

import pytest

from utils import latest
from utils.errors import UserError
from utils.latest import latest_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run("exp_local/day/a", "pretrain")`` makes what a run folder is told by; each is newer than the one before."""
    monkeypatch.chdir(tmp_path)
    times = iter(range(1_000, 2_000))

    def make(folder, phase="pretrain", text=None):
        (tmp_path / folder / "replay").mkdir(parents=True)
        path = tmp_path / folder / "config.yaml"
        path.write_bytes(f"seed: 1\nphase: {phase}\n".encode() if text is None else text)
        os.utime(path, (time := next(times), time))
        return path.parent

    return make


def test_the_newest_of_the_script_that_asks(run):
    run("exp_local/day/a"), run("exp_local/day/b"), run("exp_local/day/c", "finetune")
    assert latest_run("exp_local", phase="pretrain").name == "b"
    assert latest_run("exp_local", phase="finetune").name == "c"
    assert latest_run().name == "c"
    with latest.asking("pretrain"):
        assert latest_run().name == "b"
    assert latest_run().name == "c"
    with pytest.raises(UserError, match="resume=latest.*exp_local/ or exp_sweep/"):
        latest_run("exp_local", "exp_sweep", phase="drq")


def test_jobs_of_sweeps_are_found(run):
    run("exp_local/day/a"), run("exp_sweep/day/sweep/0"), run("exp_sweep/day/sweep/1")
    assert latest_run("exp_local", "exp_sweep").parts[-2:] == ("sweep", "1")


def test_links_are_followed_and_lead_in_no_circle(run, tmp_path):
    far = run("elsewhere/disk/run")
    (tmp_path / "exp_local").mkdir()
    (tmp_path / "exp_local" / "loop").symlink_to(tmp_path)
    with pytest.raises(UserError):
        latest_run(tmp_path / "nowhere")
    (tmp_path / "exp_local" / "day").symlink_to(far.parent)
    assert latest_run().resolve() == far
    (tmp_path / "exp_local" / "loop").unlink()
    assert latest_run("exp_local").resolve() == far
    (tmp_path / "exp_local" / "day").unlink()
    (tmp_path / "exp_local" / "one").symlink_to(far)
    assert latest_run().resolve() == far
    (tmp_path / "exp_sweep").symlink_to(far.parent)
    assert latest_run("exp_sweep").resolve() == far


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"- 1", b"inner:\n  phase: pretrain\n"])
def test_what_is_no_run_is_passed_over(run, tmp_path, text):
    first = run("exp_local/day/a")
    run("exp_local/day/b", text=text)
    (tmp_path / "exp_local" / "day" / "c" / "replay").mkdir(parents=True)
    (tmp_path / "exp_local" / "day" / "c" / "config.yaml").symlink_to("nowhere")
    (tmp_path / "exp_local" / "day" / "d").mkdir()
    (tmp_path / "exp_local" / "day" / "d" / "config.yaml").write_text("phase: pretrain\n")
    assert latest_run(phase="pretrain").resolve() == first
