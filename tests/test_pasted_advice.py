"""What messages print to be typed, taken out of them: the next run accepts it. In a folder with a name of the worst."""

import errno
import itertools
import os
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from advice_kit import advised, pasted, settings_after, stored_after
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from old_kit import put_settings, unpack
from omegaconf import OmegaConf
from settings_kit import compose_settings

from doctoring import machine, needs
from entry import cli
from entry.scripts import SCRIPTS
from entry.settings import settings_of
from entry.start import launch
from entry.stored import read_config, stored_settings
from envs.workers import WorkerFailure
from preflight import room
from preflight.forecast import forecast
from replay import Replay
from replay.damage import DamagedReplay
from replay.files import allocate
from training.collector import Collector
from training.learner import Learner, NumericalFault
from utils.config import flatten, resume_words
from utils.errors import UserError
from utils.own_code import PACKAGES

NASTY = "it's a=b,c ${d} ü"
KINDS = ("pretrain", "finetune", "drq")
LONGER = {
    "pretrain": {"num_train_frames": 2200},
    "finetune": {"num_train_frames": 2200},
    "drq": {"num_train_steps": 300},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("old") / NASTY
    home.mkdir()
    return unpack(home)


@pytest.fixture(params=("pretrain", "drq"))
def script(request):
    return request.param


@pytest.fixture
def folder(runs, script, tmp_path, monkeypatch):
    """A run of ``script`` that is over."""
    home = tmp_path / NASTY
    home.mkdir()
    monkeypatch.chdir(home)
    return shutil.copytree(runs / script, home / "run")


def go_on(script, folder, **changes):
    return launch(
        stored_settings(folder, compose_settings(script)) | LONGER[script] | changes, folder, script, resume=True
    )


def no_space(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_full(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("replay.files._reserve", no_space)
        allocate(Path("segment"), 10)


ENDS = {
    "a disk that is full": (Collector, "step", no_space),
    "a replay that cannot grow": (Collector, "step", disk_full),
    "a worker that died": (Collector, "step", WorkerFailure("environment 0 (of 0 to 0) has lost its process.")),
    "a loss that is NaN": (Learner, "update", NumericalFault("model_loss", float("nan"))),
    "a damaged replay": (Replay, "load_state_dict", DamagedReplay("The replay is damaged.", usable=True)),
}


@pytest.mark.parametrize(
    ("script", "end"), list(zip(itertools.cycle(KINDS), ENDS, strict=False)), ids=str, indirect=["script"]
)
def test_a_run_that_ends_early_says_how_to_go_on(script, folder, monkeypatch, end):
    owner, name, failure = ENDS[end]
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:

        def fail(*arguments, **named):
            raise failure if isinstance(failure, Exception) else failure()

        patch.setattr(owner, name, fail)
        go_on(script, folder)
    said = str(caught.value)
    words = pasted(said, "resume")
    assert not [key for key in ("replay.capacity", "replay_buffer_capacity") if key in said]
    stored = stored_after(script, words)
    for word in words[1:]:
        key, _, value = word.partition("=")
        section, _, last = key.rpartition(".")
        assert str((stored[section] if section else stored)[last]).lower() == value
    ways = [word for key in ("replay.verify", "on_nan") for word in advised(said, key)]
    assert len(ways) == {"a damaged replay": 2, "a loss that is NaN": 1}.get(end, 0)
    for word in ways:
        settings_after(script, [words[0], word])


def test_ctrl_c_names_the_folder(script, folder, monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    known = OmegaConf.create({"mode": RunMode.RUN, "runtime": {"output_dir": str(folder)}})
    monkeypatch.setattr(HydraConfig, "get", lambda: known)
    monkeypatch.setattr(cli, "_job_started", False)
    with pytest.raises(KeyboardInterrupt):
        cli.job_errors(interrupted)(OmegaConf.create(read_config(folder)))
    settings_after(script, pasted(capsys.readouterr().err, "resume"))


def test_a_folder_with_a_run_in_it_names_how_to_go_on(script, folder):
    with pytest.raises(UserError) as caught:
        launch(compose_settings(script, "preset=debug", "device=cpu"), folder, script)
    settings_after(script, pasted(str(caught.value), "resume"))


def test_a_run_that_is_over_names_the_key_of_its_length(script, folder, capsys):
    settings = stored_settings(folder, compose_settings(script))
    launch(settings, folder, script, resume=True)
    key = capsys.readouterr().out.partition("(raise ")[2].split()[0]
    settings_after(script, [*pasted(resume_words(folder, {}), "resume"), f"{key}={settings[key] + 1000}"])


@pytest.mark.parametrize(
    ("script", "key"), [("pretrain", key) for key in PACKAGES] + [("drq", "env_factory")], indirect=["script"]
)
def test_code_of_ones_own_is_named_in_words_that_name_it(script, folder, key):
    """By any name that Python takes."""
    path = "mödul.Ägent"
    if key == "env_factory":
        put_settings(folder, env_factory=path)
    else:
        put_settings(folder, agent=read_config(folder)["agent"] | {key.removeprefix("agent."): path})
    with pytest.raises(UserError) as caught:
        stored_after(script, pasted(resume_words(folder, {}), "resume"))
    words = pasted(str(caught.value), key)
    stored = stored_after(script, [*pasted(resume_words(folder, {}), "resume"), *words])
    assert path in (stored["env_factory"], stored["agent"].get(key.removeprefix("agent.")))


def test_a_run_of_another_script_names_the_command_and_the_code(script, folder):
    put_settings(folder, env_factory="mödul.make")
    other = "drq" if script != "drq" else "pretrain"
    words = [*pasted(resume_words(folder, {}), "resume"), shlex.split("env_factory=\"'mödul.make'\"")[0]]
    with pytest.raises(UserError) as caught:
        stored_after(other, words)
    command = str(caught.value).rpartition(": ")[2]
    assert Path(shlex.split(command)[1]).name == SCRIPTS[script].file
    assert stored_after(script, shlex.split(command)[2:])["env_factory"] == "mödul.make"


# ---- sizes


@pytest.fixture
def little(monkeypatch):
    """``little("disk")``: there is little of that, and what is said of it for settings and a run folder."""

    def said(of, settings, folder, phase, enough):
        need = forecast(settings, phase)
        available = need.ram - 1 if enough else 10**6
        monkeypatch.setattr(room, "available_memory", lambda: available if of == "memory" else None)
        monkeypatch.setattr(room, "installed_memory", lambda: None if enough else 10**6 if of == "memory" else None)
        free = {"replay": 10**4, "disk": need.replay + 10 if not enough else int(1.01 * need.disk)}.get(of, 10**15)
        monkeypatch.setattr(room, "free_bytes", lambda folder: free)
        monkeypatch.setattr(room, "_present", lambda folder: 0)
        monkeypatch.setattr("replay.files.free_bytes", lambda folder: free)
        try:
            [note] = room.short_of(need, folder)
        except UserError as error:
            return getattr(error, "text", str(error))
        return note

    return said


@pytest.mark.parametrize(
    ("of", "enough"), [("replay", False), ("disk", False), ("disk", True), ("memory", False), ("memory", True)]
)
def test_a_run_that_goes_on_is_told_to_change_what_it_may(script, folder, little, of, enough):
    shutil.rmtree(folder / "replay")
    settings = settings_of(script, stored_settings(folder, compose_settings(script)) | LONGER[script])
    phase = SCRIPTS[script].phase
    keys = set(flatten(compose_settings(script))) | {"hydra.run.dir", "preset", "replay.capacity"}
    for where, may in ((folder, SCRIPTS[script].safe_on_resume), (folder.parent / "new", keys)):
        said = little(of, settings, where, phase, enough)
        fix = re.split(r"(?:free|left|all|available)\. ", said.replace("`", ""))[-1]
        named = {word.strip(".,()").partition("=")[0] for word in fix.split()} & keys
        assert named <= set(may), said
        assert named or where == folder or of == "replay", said
        if "preset=" in fix:
            settings_after(script, advised(fix, "preset"))


def test_a_gpu_that_is_too_small_names_what_may_change(script, folder, monkeypatch):
    monkeypatch.setattr(room, "resolve_device", lambda *arguments: None)
    settings = settings_of(script, stored_settings(folder, compose_settings(script)) | LONGER[script])
    need = forecast(settings, SCRIPTS[script].phase)
    need = SimpleNamespace(
        ring_on="cuda", ring_on_gpu=True, ring=10, gpu=20, shares_gpu=True, layout=need.layout, ram=need.ram
    )
    for free in (5, 15):
        monkeypatch.setattr(room.torch.cuda, "mem_get_info", lambda device, free=free: (free, 100))
        for kept in (True, False):
            try:
                [said] = room.ring_notes(need, kept)
            except UserError as error:
                said = str(error)
            assert ("lower" in said) != kept
            for word in advised(said, "replay.device")[1:] + advised(said, "replay.prefetch"):
                settings_after(script, [*pasted(resume_words(folder, {}), "resume"), word])


def test_the_capacity_that_is_said_to_fit_does(script, folder, monkeypatch):
    """With everything else that the run writes."""
    words = ["preset=debug", "device=cpu", "action_repeat=1"]
    key = "replay_buffer_capacity" if script == "drq" else "replay.capacity"
    words += ["num_train_steps=10000000", "batch_size=2"] if script == "drq" else ["num_train_frames=10000000"]
    settings = settings_after(script, [*words, f"{key}=1000000"])
    need = forecast(settings, SCRIPTS[script].phase)
    new = folder.parent / "new"
    for free in (need.replay - 1, need.replay // 3, need.disk - need.replay + 10**6):
        monkeypatch.setattr(room, "free_bytes", lambda folder, free=free: free)
        monkeypatch.setattr("replay.files.free_bytes", lambda folder, free=free: free)
        try:
            room.disk_notes(need, new)
            continue
        except UserError as error:
            word = advised(getattr(error, "text", str(error)).replace("`", ""), "replay.capacity")[1:]
        if word:
            fits = settings_after(script, [*words, word[0].replace("replay.capacity", key)])
            room.disk_notes(forecast(fits, SCRIPTS[script].phase), new)


# ---- a run that is to begin

REFUSED = [
    ("pretrain", ["replay.capacity=100"], "replay.capacity"),
    ("pretrain", ["replay.capacity=700", "batch_length=10", "preset=debug"], "replay.capacity"),
    ("drq", ["replay_buffer_capacity=10"], "replay_buffer_capacity"),
    ("pretrain", ["domain=jacoo"], "domain"),
    ("finetune", ["task=walker_runn"], "task"),
    ("drq", ["drq_presett=small"], None),
    ("pretrain", ["domain=quadruped", "task=walker_run"], "domain"),
    ("pretrain", ["agent=deviation_dreamer", "domain=hopper"], "agent.explor_rate"),
    ("pretrain", ["agent=apt_dreamer", "agent.knn_k=100000"], "agent.knn_k"),
    ("pretrain", ["device=cudaa"], None),
    ("drq", ["render_size=5"], None),
    ("pretrain", ["hydra/launcher=joblib,basic"], None),
]


@pytest.mark.parametrize(("script", "words", "key"), REFUSED, ids=lambda value: str(value))
def test_the_value_that_a_refusal_names_is_accepted(words, key, script):
    with pytest.raises(UserError) as caught:
        settings_after(script, words)
    if key is None:
        return
    word = advised(str(caught.value), key)[-1]
    kept = [other for other in words if not other.startswith(f"{key}=")]
    settings_after(script, [*kept, word])


@pytest.mark.parametrize("script", ["pretrain", "drq"])
def test_folders_that_do_not_go_with_resume(script, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(runs / script)
    named = "resume=run"
    with pytest.raises(UserError) as caught:
        settings_after(script, [named, "hydra.run.dir=other"])
    words = [*advised(str(caught.value), "resume")[-1:], *advised(str(caught.value), "hydra.run.dir")]
    assert words == ["resume=auto", "hydra.run.dir=other"]
    settings_after(script, words)
    with pytest.raises(UserError) as caught:
        settings_after(script, ["--multirun", "seed=1,2", named])
    words = pasted(str(caught.value), "hydra.sweep.dir")
    assert words == ["hydra.sweep.dir=<folder>", "resume=auto"]
    settings_after(script, ["--multirun", "seed=1,2", *(word.replace("<folder>", "sweep") for word in words)])
    with pytest.raises(UserError) as caught:
        settings_after(script, ["resume=auto"])
    words = advised(str(caught.value), "hydra.run.dir")
    settings_after(script, ["resume=auto", *(word.replace("<folder>", "new") for word in words)])


@pytest.mark.parametrize("script", KINDS)
def test_the_doctors_fixes_are_accepted(script, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    rows = [machine.device("cuda", []), machine.device("auto", []), needs.wandb_login(True)]
    words = [word for row in rows for key in ("device", "preset", "use_wandb") for word in advised(row.fix, key)]
    assert words == ["device=auto", "device=cpu", "preset=small", "use_wandb=false"]
    for word in words:
        settings_after(script, [word])
