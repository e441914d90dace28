"""Snapshots, disks, limits, rights and logins that are missing."""

import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from contents_kit import resumable, write_snapshot
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from settings_kit import typed
from snapshot_kit import made_by

from doctoring import needs
from doctoring.examination import answer
from doctoring.request import Request
from doctoring.row import Status
from entry.scripts import SCRIPTS
from preflight import room as module
from preflight.forecast import forecast
from training import checkpoint
from utils.config import configs_of


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """``request_of("pretrain", ...)`` -> request in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def make(phase, *overrides, run_dir=None):
        return Request(phase, typed(phase, "preset=debug", "device=cpu", *overrides), run_dir, False)

    return make


def test_a_missing_a_damaged_and_a_good_snapshot(request_of, tmp_path):
    folder = tmp_path / "pretrained_models" / "pixels" / "walker" / "dreamer" / "1"
    request = request_of("finetune", "snapshot_ts=100")
    row = answer(lambda: needs.snapshot(request))
    assert row.status is Status.FAIL and "snapshot_ts=100" in row.found and "snapshot_ts=0" in row.fix
    folder.mkdir(parents=True)
    (folder / "snapshot_100.pt").write_bytes(b"PK\x03\x04 broken")
    row = answer(lambda: needs.snapshot(request))
    assert row.status is Status.FAIL and "not a readable snapshot" in row.found
    made_by(folder / "snapshot_100.pt", "pretrain", "preset=debug", "domain=walker")
    row = answer(lambda: needs.snapshot(request))
    assert row == (Status.OK, "snapshot_100.pt of agent=dreamer, frame 0", "")
    made_by(folder / "snapshot_100.pt", "pretrain", "preset=debug", "domain=walker", "rssm.deter=12")
    row = answer(lambda: needs.snapshot(request))
    assert row.status is Status.FAIL and "rssm.deter=16" in row.found and "rssm.deter=12" in row.fix


def test_no_snapshot_is_needed(request_of, tmp_path):
    checkpoint.save(tmp_path / "checkpoint.pt", "checkpoint", resumable())
    stray = answer(lambda: needs.snapshot(request_of("finetune", run_dir=tmp_path)))
    assert stray.status is Status.FAIL and "checkpoint.pt" in stray.found
    (tmp_path / "config.yaml").touch()
    for request in (
        request_of("pretrain"),
        request_of("finetune", "snapshot_ts=0"),
        request_of("finetune", run_dir=tmp_path),
        request_of("drq"),
    ):
        assert needs.snapshot(request).status is Status.OK


def test_a_snapshot_for_drq(request_of, tmp_path):
    request = request_of("drq", f"snapshot={tmp_path}/model_9.pt")
    row = answer(lambda: needs.snapshot(request))
    assert row.status is Status.FAIL and "model_9.pt" in row.found
    made_by(tmp_path / "model_9.pt", "drq", "preset=debug")
    assert needs.snapshot(request) == (Status.OK, "model_9.pt of agent=drq_diayn, frame 0", "")
    write_snapshot(tmp_path / "model_9.pt")
    row = answer(lambda: needs.snapshot(request))
    assert row.status is Status.FAIL and "agent=dreamer" in row.found


@pytest.mark.parametrize("phase", SCRIPTS)
def test_folders_are_those_of_the_script(request_of, phase):
    """Single runs and sweeps go below what the script's configuration names first."""
    with initialize_config_dir(str(configs_of(phase)), version_base="1.3"):
        hydra = compose(phase, return_hydra_config=True).hydra
    single = OmegaConf.to_container(hydra.run)["dir"].partition(",")[2].partition("/")[0]
    sweep = OmegaConf.to_container(hydra.sweep)["dir"].partition(":")[2].partition("/")[0]  # ${sweep_folder:...}
    request = request_of(phase)
    assert needs.run_folder(request) == Path(single).absolute()
    assert needs.run_folder(request._replace(first_of_sweep=True)) == Path(sweep).absolute()


@pytest.mark.parametrize(("factor", "status"), [(0.5, Status.FAIL), (1.05, Status.WARN), (100, Status.OK)])
def test_disks(request_of, monkeypatch, factor, status):
    request = request_of("pretrain", "num_train_frames=100000", "snapshots=[]")
    need = forecast(request.settings, "pretrain")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(factor * need.disk)))
    row = answer(lambda: needs.disk(request, need))
    assert row.status is status and bool(row.fix) == (status is not Status.OK)
    assert "replay.capacity" in row.fix or status is Status.OK


@pytest.mark.parametrize(("available", "status"), [(10**6, Status.WARN), (10**12, Status.OK), (None, Status.OK)])
def test_memory(request_of, monkeypatch, available, status):
    monkeypatch.setattr(module, "available_memory", lambda: available)
    request = request_of("pretrain")
    row = needs.memory(request, forecast(request.settings, "pretrain"))
    assert row.status is status and bool(row.fix) == (status is not Status.OK)


def test_the_limit_of_open_files(monkeypatch):
    for limit, status in ((399, Status.FAIL), (400, Status.OK), (resource.RLIM_INFINITY, Status.OK)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        row = needs.open_files(SimpleNamespace(replay_files=400 - needs.MARGIN))
        assert row.status is status and row.fix == ("ulimit -n 400" if status is Status.FAIL else "")


def test_folders_that_cannot_be_written_to(request_of, tmp_path):
    (tmp_path / "file").touch()
    assert needs.writable(request_of("pretrain")).status is Status.OK
    row = answer(lambda: needs.writable(request_of("pretrain", run_dir=tmp_path / "file" / "run")))
    assert row.status is Status.FAIL and "hydra.run.dir=" in row.found and row.fix
    request = request_of("pretrain")
    elsewhere = request.settings.model_copy(update={"snapshot_dir": str(tmp_path / "file" / "snapshots")})
    request = request._replace(settings=elsewhere)
    row = answer(lambda: needs.writable(request))
    assert row.status is Status.FAIL and "snapshot_dir=" in row.found


def test_wandb(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert needs.wandb_login(False).status is Status.OK
    missing = needs.wandb_login(True)
    assert missing.status is Status.WARN and "WANDB_MODE=offline" in missing.fix
    (tmp_path / "netrc").write_text("machine elsewhere.org login a password b\n")
    assert needs.wandb_login(True).status is Status.WARN
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    row = needs.wandb_login(True)
    assert row.status is Status.OK and "secret" not in row.found
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert needs.wandb_login(True).status is Status.WARN
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    row = needs.wandb_login(True)
    assert row.status is Status.OK and "secret" not in row.found
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert needs.wandb_login(True).status is Status.OK
    monkeypatch.setenv("WANDB_MODE", "online")
    assert needs.wandb_login(True).status is Status.WARN
