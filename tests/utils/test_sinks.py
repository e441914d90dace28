"""Video files, TensorBoard and wandb: each is written on its own, and one that fails is told once."""

import errno
import os
import sys
import types

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, TENSORS, EventAccumulator

import utils.logger
import utils.tensorboard_log
import utils.wandb_log
from training.layouts import DREAMER
from utils.errors import UserError
from utils.logger import Logger
from utils.sink import LONGEST, Sink, reason
from utils.tensorboard_log import TensorBoardLog
from utils.wandb_log import WandbLog

FRAMES = np.zeros((4, 16, 16, 3), np.uint8)
CONFIG = {
    "seed": 3,
    "agent": {"name": "plan2explore", "odd": "${nothing}"},
    "task": "fox \U0001f98a \udcff",
    "marks": [],
}
FAILURES = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError("of a library"),
    RuntimeError("of\nthree\nlines"),
    AssertionError(),
]


class FakeRun:
    """What ``wandb.init`` gives."""

    id = "abc"

    def __init__(self):
        self.logged = []
        self.finished = []
        self.given_up = False

    def give_up(self):
        self.given_up = True

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.finished.append(exit_code)


@pytest.fixture
def page(monkeypatch):
    """wandb's page of the run."""
    run, package = FakeRun(), types.ModuleType("wandb")
    package.init, package.Video, package.teardown = lambda **_: run, lambda data, **_: data, run.give_up
    monkeypatch.setitem(sys.modules, "wandb", package)
    return run


def make(tmp_path, **more):
    own = {"use_tb": True, "use_wandb": True, "progress": False, "config": CONFIG}
    return Logger(tmp_path, action_repeat=2, total_frames=1000, layout=DREAMER, **(own | more))


def play(logger):
    """Scalars, rows and videos, twice."""
    for step in (100, 200):
        logger.write_scalars(2 * step, {"loss": 1.0}, "train")
        logger.log("episode_reward", 5.0, "eval")
        logger.log("episode", 7, "eval")
        logger.dump(step, "eval")
        logger.log_video(2 * step, "episode", FRAMES, "eval")
    logger.close()


def shown(tmp_path):
    """What TensorBoard has: (tag -> frames of the scalars, tag -> frames of the videos, the text)."""
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={SCALARS: 0, IMAGES: 0, TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [event.step for event in events.Scalars(tag)] for tag in tags["scalars"]}
    images = {tag: [event.step for event in events.Images(tag)] for tag in tags["images"]}
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    return scalars, images, texts


def fail_with(error):
    def failing(*_, **__):
        raise error

    return failing


BREAK = {
    "save_video": lambda patch, run, error: patch.setattr(utils.logger, "save_video", fail_with(error)),
    "use_tb": lambda patch, run, error: patch.setattr(TensorBoardLog, "_write", fail_with(error)),
    "use_wandb": lambda patch, run, error: (
        patch.setattr(run, "log", fail_with(error)),
        patch.setattr(run, "finish", fail_with(error)),
    ),
}


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("broken", BREAK)
def test_one_that_fails_takes_no_other_along(tmp_path, monkeypatch, capsys, page, broken, error):
    logger = make(tmp_path)
    BREAK[broken](monkeypatch, page, error)
    play(logger)
    assert len((tmp_path / "eval.csv").read_text().splitlines()) == 3
    assert len(list(tmp_path.glob("videos/*"))) == (0 if broken == "save_video" else 2)
    if broken == "use_tb":
        assert not (tmp_path / "tb").exists()
    else:
        scalars, images, _ = shown(tmp_path)
        assert scalars["train/loss"] == scalars["eval/episode_reward"] == [200, 400]
        assert images == {"eval/episode_video": [200, 400]}
    assert page.given_up == (broken == "use_wandb")
    if broken != "use_wandb":
        assert [values["train/loss"] for values in page.logged if "train/loss" in values] == [1.0, 1.0]
        assert len([values for values in page.logged if "eval/episode_video" in values]) == 2
        assert page.finished == [0]
    out = capsys.readouterr().out
    (note,) = [line for line in out.splitlines() if line.startswith("note: ")]
    assert f"{broken}=false" in note and reason(error) in note
    assert out.count("| eval") == 2


def test_wandb_gets_a_video_that_could_not_be_saved(tmp_path, monkeypatch, page):
    logger = make(tmp_path)
    monkeypatch.setattr(utils.logger, "save_video", fail_with(FAILURES[0]))
    assert logger.log_video(10, "episode", FRAMES, "eval") is None
    assert page.logged[0]["eval/episode_video"].getvalue().startswith(b"GIF89a")


def test_the_switch_has_the_name_that_the_script_has_for_it(tmp_path, monkeypatch, capsys):
    logger = make(tmp_path, use_wandb=False, published={"use_tb": "log_save_tb"}.get)
    monkeypatch.setattr(TensorBoardLog, "_write", fail_with(FAILURES[0]))
    play(logger)
    assert "log_save_tb=false" in capsys.readouterr().out


def test_an_interrupt_is_no_failure(tmp_path, monkeypatch):
    logger = make(tmp_path, use_wandb=False)
    monkeypatch.setattr(TensorBoardLog, "_write", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        logger.write_scalars(0, {"loss": 1.0}, "train")


def test_a_tag_is_a_scalar_or_a_video(tmp_path, page):
    play(make(tmp_path))
    scalars, images, _ = shown(tmp_path)
    assert "eval/episode" in scalars and images
    assert not set(scalars) & set(images)
    kinds = [{key for key in values if key.endswith("_video")} for values in page.logged]
    assert not {key for values in page.logged for key in values if not key.endswith("_video")} & set().union(*kinds)


def test_tensorboard_shows_the_settings(tmp_path):
    play(make(tmp_path, use_wandb=False))
    _, _, texts = shown(tmp_path)
    (text,) = texts.values()
    lines = text.splitlines()
    assert all(line.startswith("    ") for line in lines), "a block that Markdown leaves alone"
    assert yaml.safe_load("\n".join(lines)) == CONFIG


def test_a_resumed_run_shows_its_settings_too(tmp_path):
    play(make(tmp_path, use_wandb=False))
    second = make(tmp_path, use_wandb=False, config={"seed": 4})
    second.truncate(200)
    second.write_scalars(300, {"loss": 2.0}, "train")
    second.close()
    scalars, _, _ = shown(tmp_path)
    assert scalars["train/loss"] == [200, 300]
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={TENSORS: 0})
    events.Reload()
    assert [event.step for event in events.Tensors("config/text_summary")] == [0, 201]


def test_tensorboard_goes_on_when_there_is_space_again(tmp_path, monkeypatch):
    """What was written before, and what comes after, is there; nothing is left of the files that were not."""
    log = TensorBoardLog(tmp_path / "tb", {"config": "    seed: 1"})
    log.scalars(1, {"a": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(utils.tensorboard_log._EventFile, "add", fail_with(FAILURES[0]))
        for frame in (2, 3):
            with pytest.raises(OSError):
                log.scalars(frame, {"a": 1.0})
    log.scalars(4, {"a": 1.0})
    log.close()
    assert shown(tmp_path)[0]["a"] == [1, 4]
    assert len(list((tmp_path / "tb").iterdir())) == 2


@pytest.mark.parametrize("name", ["tb", "videos"])
def test_a_file_in_the_place_of_a_folder(tmp_path, capsys, name):
    (tmp_path / name).write_text("not a folder")
    play(make(tmp_path, use_wandb=False))
    out = capsys.readouterr().out
    assert out.count("note: ") == 1 and str(tmp_path / name) in out
    assert (tmp_path / name).read_text() == "not a folder"


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_what_wandb_raises_at_the_start_is_told_in_words(tmp_path, monkeypatch, page, error):
    monkeypatch.setattr(sys.modules["wandb"], "init", fail_with(error))
    with pytest.raises(UserError) as refused:
        WandbLog(tmp_path, {})
    message = str(refused.value)
    assert message.startswith("use_wandb=true") and "use_wandb=false" in message and "\n" not in message


def test_a_page_whose_id_cannot_be_read(tmp_path, page):
    (tmp_path / "wandb_run_id").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="use_wandb=false"):
        WandbLog(tmp_path, {})


def test_reasons_are_one_short_line():
    assert reason(FileNotFoundError(errno.ENOENT, "No such file", "a/b")) == "a/b: No such file"
    assert reason(ValueError("of\n  three\nlines")) == "of three lines"
    assert reason(KeyError()) == "KeyError"
    assert len(reason(ValueError("x" * 10_000))) < LONGEST + 10


def test_only_the_first_failure_is_told():
    said = []
    sink = Sink("a place", "use_it=false", said.append)
    for number in range(3):
        with sink:
            raise ValueError(number)
    assert len(said) == 1 and "use_it=false" in said[0]
