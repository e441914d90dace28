import json
import os
import struct
import subprocess
import sys
import types

import numpy as np
import pytest

from utils.errors import UserError
from utils.video import save_video
from utils.wandb_log import WandbLog, wandb_settings

SETTINGS = wandb_settings(
    stage="pretrain",
    project_name="somnia",
    agent="plan2explore",
    domain_or_task="walker",
    obs_type="pixels",
    seed=3,
    config={"seed": 3, "agent": {"name": "plan2explore"}},
    experiment="pt",
)


def in_a_process(script, tmp_path, **environment):
    """Run ``script`` far from this user's wandb settings; wandb's process-wide state must not be shared by tests."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "NETRC": str(home / "netrc"), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=keep | own | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def raw_records(path):
    """The records of a .wandb file, which is a LevelDB log: blocks of 32 KiB, pieces of (checksum, length, kind)."""
    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # too little room left in this block for a header
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole record, or its last piece
            yield parts
            parts = b""


def records(folder):
    """History rows and run header from the one offline file below ``folder``."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.rglob("*.wandb")
    history, header = [], None
    for data in raw_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        if record.HasField("run"):
            header = record.run
    return history, header


def test_published_names():
    assert SETTINGS == {
        "project": "somnia_pretrain",
        "group": "plan2explore",
        "name": "pt_plan2explore_walker_pixels_3",
        "config": {"seed": 3, "agent": {"name": "plan2explore"}},
    }
    other = wandb_settings(
        stage="finetune",
        project_name="p",
        agent="icm",
        domain_or_task="walker_run",
        obs_type="states",
        seed=0,
        config={},
        experiment="ablation",
    )
    assert (other["project"], other["name"]) == ("p_finetune", "ablation_icm_walker_run_states_0")


def test_offline_without_login(tmp_path):
    pytest.importorskip("wandb")
    video = save_video(np.zeros((3, 16, 16, 3), np.uint8), tmp_path / "v.mp4", 10)
    script = f"""
from pathlib import Path
import numpy as np
from utils.wandb_log import WandbLog
log = WandbLog(Path({str(tmp_path / "run")!r}), {SETTINGS!r})
log.scalars({{"train/actor_loss": 0.5, "train/frame": 1000}})
log.scalars({{"eval/episode_reward": 12.0, "eval/frame": 2000}})
frames = np.zeros((3, 16, 16, 3), np.uint8)
log.video("train/open_loop", Path({str(video)!r}), frames, 10, {{"train/frame": 2000}})
log.close()
"""
    (tmp_path / "run").mkdir()
    done = in_a_process(script, tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    assert done.returncode == 0, done.stderr
    history, header = records(tmp_path / "run" / "wandb")
    assert history[0]["train/actor_loss"] == 0.5
    assert history[0]["train/frame"] == 1000
    assert history[1]["eval/episode_reward"] == 12.0
    assert history[2]["train/frame"] == 2000
    assert history[2]["train/open_loop/_type"] == "video-file"
    assert [path.stat().st_size for path in (tmp_path / "run").rglob("*.mp4")] == [video.stat().st_size]
    assert (header.project, header.run_group, header.display_name) == (
        "somnia_pretrain",
        "plan2explore",
        "pt_plan2explore_walker_pixels_3",
    )
    assert (tmp_path / "run" / "wandb_run_id").read_text().strip() == header.run_id
    assert not (tmp_path / "wandb").exists(), "nothing outside the run folder"


def test_missing_login_names_the_fix(tmp_path):
    pytest.importorskip("wandb")
    script = f"""
from pathlib import Path
from utils.errors import UserError
from utils.wandb_log import WandbLog
try:
    WandbLog(Path({str(tmp_path)!r}), {SETTINGS!r})
except UserError as error:
    print("USER ERROR", error)
"""
    done = in_a_process(script, tmp_path, WANDB_MODE="online")
    assert "USER ERROR use_wandb=true" in done.stdout, done.stderr
    assert "wandb login" in done.stdout
    assert "WANDB_MODE=offline" in done.stdout


def test_missing_package_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install wandb\b.*use_wandb=false"):
        WandbLog(tmp_path, {})


def test_a_folder_named_wandb_is_not_the_package(tmp_path, monkeypatch):
    """Without the package, Python imports the output folder of an earlier run as an empty package."""
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    with pytest.raises(UserError, match="pip install wandb"):
        WandbLog(tmp_path, {})


def test_a_resumed_run_continues_the_same_page(tmp_path, monkeypatch):
    calls = []

    class Run:
        id = "abc123"

        def define_metric(self, *_, **__):
            pass

    fake = types.ModuleType("wandb")
    fake.Video, fake.teardown = object, object
    fake.init = lambda **arguments: calls.append(arguments) or Run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    WandbLog(tmp_path, {"project": "p"})
    WandbLog(tmp_path, {"project": "p"})
    WandbLog(tmp_path, {"project": "p", "id": "mine"})
    assert calls == [
        {"dir": str(tmp_path), "project": "p"},
        {"dir": str(tmp_path), "project": "p", "id": "abc123", "resume": "allow"},
        {"dir": str(tmp_path), "project": "p", "id": "mine"},
    ]
