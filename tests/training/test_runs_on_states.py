"""Whole runs on states: what is stored and refused, exact resume, and videos only where something can be drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kill_kit import Killed, kill_at, rows
from run_kit import BLIND, SHORT
from settings_kit import typed

from entry.start import launch
from envs import gl
from preflight.forecast import forecast
from training import parts
from training.camera import Camera
from training.fitting import check_fits
from training.parts import env_observation
from training.pretrained import read_source
from utils.errors import UserError
from utils.settings import SettingError

STATES = ("configs=dmc_states", *SHORT)


@pytest.fixture(autouse=True)
def in_scratch_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_records_hold_the_numbers_and_no_more(settings):
    config = typed("pretrain", *STATES, "agent=dreamer")
    assert env_observation(config) == ((24,), "float32")
    dtype = forecast(config, "pretrain").layout.dtype
    assert dtype["observation"].base == np.float32 and dtype["observation"].shape == (24,)
    assert dtype.itemsize == 4 * 24 + 4 * 6 + 4 + 8 * 18 + 4  # observation, action, reward, physics, three flags padded
    published = forecast(typed("pretrain", "configs=dmc_states", "device=cpu"), "pretrain")
    assert published.layout.nbytes == pytest.approx(2_000_000 * dtype.itemsize, rel=0.01)
    jaco = typed("pretrain", *STATES, "domain=jaco", "action_repeat=5")
    assert env_observation(jaco) == ((55,), "float32")


@pytest.mark.parametrize(
    ("agent", "norm"), [("dreamer", "running"), pytest.param("deviation_dreamer", "none", marks=pytest.mark.long)]
)
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(settings, tmp_path, monkeypatch, agent, norm):
    config = settings(
        "finetune", *STATES, f"agent={agent}", f"state_norm={norm}", "snapshot_ts=0", "num_train_frames=2010",
        "evaluate=false", "checkpoint_every_minutes=0.005",
    )  # fmt: skip
    whole = launch(config, tmp_path / "whole", "finetune")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 43)
        launch(config, tmp_path / "killed", "finetune")
    resumed = launch(config, tmp_path / "killed", "finetune", resume=True)
    for name, value in whole.agent.training_state()["modules"].items():
        assert torch.equal(value, resumed.agent.training_state()["modules"][name]), name
    assert rows(tmp_path / "whole" / "train.csv") == rows(tmp_path / "killed" / "train.csv") != []


def test_videos_are_made_where_something_can_be_drawn_and_change_nothing(settings, tmp_path):
    config = settings("pretrain", *STATES, "agent=diayn_dreamer", "num_train_frames=1210", "snapshots=[1200]")
    watched = launch(config, tmp_path / "watched", "pretrain")
    names = {path.name for path in (tmp_path / "watched" / "videos").iterdir()}
    assert names == {"eval_episode_0.mp4", "eval_episode_1000.mp4", "train_skills_1200.mp4"}
    alone = launch(config | {"save_video": False, "snapshots": []}, tmp_path / "alone", "pretrain")
    assert not (tmp_path / "alone" / "videos").exists()
    for name, value in watched.agent.training_state()["modules"].items():
        assert torch.equal(value, alone.agent.training_state()["modules"][name]), name


@pytest.fixture
def nothing_draws(monkeypatch):
    """No backend works; the list of what was asked for."""
    asked = []

    def refuse():
        asked.append("pictures")
        return "egl: no driver"

    monkeypatch.setattr(parts, "pictures_if_possible", refuse)
    monkeypatch.setattr("envs.dmc.Renderer", None)
    return asked


def test_without_a_renderer_it_is_said_once_and_the_run_goes_on(settings, tmp_path, capsys, nothing_draws):
    config = settings("pretrain", *STATES, "agent=diayn_dreamer", "num_train_frames=1210", "snapshots=[1200]")
    run = launch(config, tmp_path / "run", "pretrain")
    told = [line for line in capsys.readouterr().out.splitlines() if "videos" in line]
    assert len(told) == 1 and "save_video=true" in told[0] and "egl: no driver" in told[0]
    assert run.updates > 0 and [row["frame"] for row in rows(tmp_path / "run" / "eval.csv")] == ["0", "1000"]
    assert not (tmp_path / "run" / "videos").exists() and nothing_draws == ["pictures"]


def test_no_renderer_is_tried_unless_videos_are_asked_for(settings, tmp_path, monkeypatch, nothing_draws):
    monkeypatch.setattr(gl, "choose_backend", None)
    launch(settings("pretrain", *STATES, *BLIND, "num_train_frames=20"), tmp_path / "run", "pretrain")
    assert nothing_draws == []


class Undrawn:
    """An environment of one's own, whose pictures are what ``shows`` gives."""

    def __init__(self, shows):
        self.render = shows


@pytest.mark.parametrize("shows", [lambda: None, lambda: np.zeros((4, 4), np.uint8), lambda: 1 / 0])
def test_a_camera_that_sees_nothing_says_so_once(shows):
    said = []
    camera = Camera(Undrawn(shows), said.append)
    assert camera() is None and camera() is None
    assert len(said) == 1 and "no videos" in said[0]
    with pytest.raises(UserError, match="cannot be drawn"):
        Camera(Undrawn(shows))()


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """Folders of snapshots at 20 frames of an untrained agent, by the kind of observation."""
    from settings_kit import compose_settings

    root, made = tmp_path_factory.mktemp("kinds"), {}
    for kind in ("dmc_pixels", "dmc_states", "dmc_states_ar2"):
        more = ("preset=debug", "device=cpu", "progress=false", *BLIND, "num_train_frames=20", "snapshots=[20]")
        made[kind] = root / kind
        config = compose_settings("pretrain", f"configs={kind}", *more, f"snapshot_dir={made[kind]}/1")
        launch(config, root / f"{kind}_run", "pretrain")
    return made


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("dmc_states", "dmc_pixels", ["obs_type=states", "obs_type=pixels"]),
        ("dmc_pixels", "dmc_states", ["obs_type=pixels", "obs_type=states"]),
        ("dmc_pixels", "dmc_states_ar2", ["obs_type=pixels", "obs_type=states"]),
        ("dmc_states", "dmc_states_ar2", ["action_repeat=1", "action_repeat=2"]),
        ("dmc_states_ar2", "dmc_states", ["action_repeat=2", "action_repeat=1"]),
    ],
)
def test_snapshots_of_another_kind_are_refused_in_words(snapshots, kind, source, told):
    config = typed(
        "finetune", f"configs={kind}", "device=cpu", "snapshot_ts=20", f"custom_snap_dir={snapshots[source]}/1"
    )
    with pytest.raises(SettingError) as refused:
        check_fits(read_source(config), config, {})
    assert all(word in str(refused.value) for word in (*told, str(Path(snapshots[source]) / "1" / "snapshot_20.pt")))


def test_a_snapshot_of_another_body_is_refused(settings, snapshots, tmp_path):
    source = f"custom_snap_dir={snapshots['dmc_states']}/1"
    config = settings(
        "finetune", "configs=dmc_states", *SHORT[:3], *BLIND, "snapshot_ts=20", source, "task=quadruped_run"
    )
    with pytest.raises(UserError, match="domain=quadruped.*domain=walker"):
        launch(config, tmp_path / "ft", "finetune")
    assert not list(tmp_path.glob("ft/*"))
