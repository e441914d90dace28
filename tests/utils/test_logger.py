import csv
import io
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from sweep_kit import in_turn
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

import utils.logger
from training.layouts import DREAMER
from utils.logger import Logger

WALL_CLOCK = {"fps", "total_time"}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def make(run_dir, clock=None, **kwargs):
    defaults = {"use_tb": False, "use_wandb": False, "action_repeat": 2, "total_frames": 10_000, "progress": False}
    return Logger(run_dir, clock=clock or Clock(), layout=DREAMER, **(defaults | kwargs))


def rows(run_dir, prefix="train"):
    with (run_dir / f"{prefix}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tensorboard(run_dir):
    events = EventAccumulator(str(run_dir / "tb"), size_guidance={SCALARS: 0, IMAGES: 0})
    events.Reload()
    return events


def test_published_line_through_the_whole_logger(tmp_path, capsys):
    clock = Clock()
    logger = make(tmp_path, clock)
    clock.now += 77.5
    logger.dump(3000, "train")
    clock.now += 12.5
    logger.log_metrics({"episode": 7, "episode_length": 1000, "episode_reward": 12.3456}, "train")
    logger.dump(3500, "train")
    logger.log_metrics({"episode": 7, "episode_length": 1000, "episode_reward": 12.3456}, "eval")
    logger.dump(3500, "eval")
    _, train, evaluation = capsys.readouterr().out.splitlines()
    assert train == "| train          | F: 7000 | S: 3500 | E: 7 | L: 1000 | R: 12.3456 | FPS: 80.0000 | T: 0:01:30"
    assert evaluation == "| eval           | F: 7000 | S: 3500 | E: 7 | L: 1000 | R: 12.3456 | T: 0:01:30"


def test_csv_columns_are_the_published_ones(tmp_path):
    with make(tmp_path) as logger:
        logger.log_metrics({"model_loss": torch.tensor(2.0), "actor_loss": torch.tensor(1.0)}, "train")
        logger.log("buffer_size", 4000, "train")
        logger.dump(2500, "train")
        for reward in (10.0, 20.0):
            logger.log_metrics({"episode_reward": reward, "episode_length": 500, "episode": 3}, "eval")
        logger.log("episode_reward_std", 5.0, "eval")
        logger.dump(2500, "eval")
    expected = "buffer_size episode episode_length episode_reward fps frame step total_time actor_loss model_loss"
    (train,) = rows(tmp_path)
    assert list(train) == expected.split()
    assert (train["buffer_size"], train["frame"], train["step"], train["model_loss"]) == ("4000", "5000", "2500", "2")
    assert (train["episode"], train["episode_reward"]) == ("", "")
    (evaluation,) = rows(tmp_path, "eval")
    expected = "episode episode_length episode_reward frame step total_time episode_reward_std"
    assert list(evaluation) == expected.split()
    assert evaluation["episode_reward"] == "15"
    assert list(DREAMER.columns) == ["train", "eval"]


def test_rows_are_means_since_the_last_dump(tmp_path):
    logger = make(tmp_path)
    for value in (1.0, 2.0, 6.0):
        logger.log_metrics({"loss": torch.tensor(value)}, "train")
    assert logger.dump(1, "train")["loss"] == 3.0
    logger.log_metrics({"loss": torch.tensor(10.0)}, "train")
    assert logger.dump(2, "train")["loss"] == 10.0
    assert "loss" not in logger.dump(3, "train")
    assert [row["loss"] for row in rows(tmp_path)] == ["3", "10", ""]


def test_train_and_eval_do_not_mix(tmp_path):
    logger = make(tmp_path)
    logger.log("a", 1.0, "train")
    logger.log("a", 5.0, "eval")
    assert logger.dump(1, "eval")["a"] == 5.0
    assert logger.dump(1, "train")["a"] == 1.0


def test_tensors_wait_for_the_dump(tmp_path, monkeypatch):
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _f=original, _n=name, **k: reads.append(_n) or _f(self, *a, **k)
        )
    logger = make(tmp_path, use_tb=True)
    for i in range(20):
        logger.log_metrics({"a": torch.full((), float(i)), "b": torch.tensor(1.0)}, "train")
        logger.tick(i)
    assert reads == []
    logger.dump(1, "train")
    assert len(reads) == 1
    logger.close()


def test_fps_counts_frames_since_the_last_row(tmp_path):
    clock = Clock()
    logger = make(tmp_path, clock)
    clock.now += 10
    assert logger.dump(500, "train")["fps"] == 100.0
    assert logger.dump(500, "train")["fps"] == 100.0  # another env's episode ended at the same frame
    clock.now += 5
    assert logger.dump(1000, "train")["fps"] == 200.0
    logger.log("fps", 7.0, "train")
    assert logger.dump(1000, "train")["fps"] == 7.0


def test_tensorboard_scalars_over_frames(tmp_path):
    with make(tmp_path, use_tb=True) as logger:
        logger.log_metrics({"episode_reward": 3.0, "actor_loss": 1.0}, "train")
        logger.dump(500, "train")
        logger.log("episode_reward", 4.0, "eval")
        logger.dump(500, "eval")
        logger.write_scalars(1000, {"eval_total_time": 12.0}, "")
    events = tensorboard(tmp_path)
    for tag, value in {"train/episode_reward": 3.0, "train/actor_loss": 1.0, "eval/episode_reward": 4.0}.items():
        assert [(e.step, e.value) for e in events.Scalars(tag)] == [(1000, value)]
    assert [e.value for e in events.Scalars("eval_total_time")] == [12.0]
    assert "train/frame" not in events.Tags()["scalars"]


def test_streamed_curves_have_one_point_per_call(tmp_path):
    """Losses go to TensorBoard every log_every_frames and to the CSV as the episode's mean, never twice to one."""
    with make(tmp_path, use_tb=True) as logger:
        for frame in range(1000, 3000, 500):
            metrics = {"actor_loss": torch.tensor(float(frame))}
            logger.log_metrics(metrics, "train")
            if frame % 1000 == 0:
                logger.write_scalars(frame, metrics, "train")
        logger.write_scalars(2500, {}, "train")
        logger.log("episode_reward", 9.0, "train")
        logger.dump(1250, "train")
    events = tensorboard(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("train/actor_loss")] == [(1000, 1000.0), (2000, 2000.0)]
    assert [(e.step, e.value) for e in events.Scalars("train/episode_reward")] == [(2500, 9.0)]
    assert rows(tmp_path)[0]["actor_loss"] == "1750"


def test_video_goes_to_a_file_and_to_tensorboard(tmp_path):
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[3:] = 120
    with make(tmp_path, use_tb=True) as logger:
        path = logger.log_video(4000, "open_loop", frames, "train", fps=10)
    assert path == tmp_path / "videos" / "train_open_loop_4000.mp4"
    assert iio.imread(path).shape == frames.shape
    (event,) = tensorboard(tmp_path).Images("train/open_loop_video")
    assert event.step == 4000
    assert np.array_equal(iio.imread(event.encoded_image_string, extension=".gif", index=None), frames)


def test_wandb_keys_hold_the_frame(tmp_path, monkeypatch):
    calls = []

    class Fake:
        def __init__(self, run_dir, settings):
            calls.append(("init", run_dir, settings))

        def scalars(self, values):
            calls.append(dict(values))

        def video(self, key, path, frames, fps, values):
            calls.append((key, path.name, frames.shape, fps, values))

        def close(self, exit_code):
            calls.append(exit_code)

    monkeypatch.setattr(utils.logger, "WandbLog", Fake)
    with pytest.raises(KeyError), make(tmp_path, use_wandb=True, wandb_settings={"project": "p"}) as logger:
        logger.write_scalars(1000, {"actor_loss": 1.0}, "train")
        logger.log("episode_reward", 2.0, "eval")
        logger.dump(500, "eval")
        logger.log_video(1000, "v", np.zeros((2, 16, 16, 3), np.uint8), "eval")
        raise KeyError
    assert calls == [
        ("init", tmp_path, {"project": "p"}),
        {"train/actor_loss": 1.0, "train/frame": 1000},
        {"eval/episode_reward": 2.0, "eval/step": 500, "eval/total_time": 0.0, "eval/frame": 1000},
        ("eval/v_video", "eval_v_1000.mp4", (2, 16, 16, 3), 15, {"eval/frame": 1000}),
        1,
    ]


def test_nothing_is_imported_that_is_not_used(tmp_path, monkeypatch):
    for name in ("wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with make(tmp_path) as logger:
        logger.write_scalars(1000, {"a": 1.0}, "train")
        logger.dump(1, "train")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["train.csv"]


def play(logger, start, stop, clock):
    """Steps ``start`` .. ``stop - 1`` of a run: an update a step, an episode of 7 steps, an evaluation every 11."""
    for step in range(start, stop):
        clock.now += 0.37
        value = float(torch.sin(torch.tensor(float(step))))
        metrics = {"loss": torch.tensor(value), "grad_norm": torch.tensor(value * 3)}
        logger.log_metrics(metrics, "train")
        if step % 5 == 0:
            logger.write_scalars(2 * step, metrics, "train")
        if step > 30:  # a module that starts late
            logger.log_metrics({"late": torch.tensor(value)}, "train")
        if step % 7 == 6:
            logger.log_metrics({"episode": step // 7, "episode_reward": value * 100}, "train")
            logger.dump(step, "train")
        if step % 11 == 0:
            logger.log_metrics({"episode_reward": value, "episode_length": 14}, "eval")
            logger.dump(step, "eval")


@pytest.mark.parametrize(("checkpoint", "lost"), in_turn((0, 3, 20, 28, 29, 33, 34, 40), (0, 1, 9, 19)))
def test_resumed_run_writes_the_same_rows(tmp_path, checkpoint, lost):
    """Killed ``lost`` steps after its checkpoint, in the middle of writing a row."""
    clock = Clock()
    whole = make(tmp_path / "whole", clock, use_tb=True)
    play(whole, 0, 60, clock)
    whole.close()

    killed_dir = tmp_path / "killed"
    first = make(killed_dir, clock, use_tb=True)
    play(first, 0, checkpoint, clock)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    play(first, checkpoint, checkpoint + lost, clock)
    if (killed_dir / "train.csv").exists():
        with (killed_dir / "train.csv").open("a") as file:
            file.write("1,2,")

    buffer.seek(0)
    second = make(killed_dir, clock, use_tb=True)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.truncate(2 * checkpoint - 1)
    play(second, checkpoint, 60, clock)
    second.close()

    for prefix in ("train", "eval"):
        expected, got = rows(tmp_path / "whole", prefix), rows(killed_dir, prefix)
        assert [[(k, v) for k, v in row.items() if k not in WALL_CLOCK] for row in got] == [
            [(k, v) for k, v in row.items() if k not in WALL_CLOCK] for row in expected
        ]
    expected_events, got_events = tensorboard(tmp_path / "whole"), tensorboard(killed_dir)
    assert set(got_events.Tags()["scalars"]) == set(expected_events.Tags()["scalars"])
    for tag in expected_events.Tags()["scalars"]:
        if tag.split("/")[-1] not in WALL_CLOCK:
            expected_points = [(e.step, e.value) for e in expected_events.Scalars(tag)]
            assert [(e.step, e.value) for e in got_events.Scalars(tag)] == expected_points


def test_the_clock_goes_on_after_a_resume(tmp_path):
    clock = Clock()
    first = make(tmp_path, clock)
    clock.now += 100
    first.dump(500, "train")
    clock.now += 5
    state = first.state_dict()
    later = Clock(now=5.0)  # another process, another origin
    second = make(tmp_path, later)
    second.load_state_dict(state)
    assert second.elapsed == 105
    later.now += 5
    row = second.dump(1000, "train")
    assert row["total_time"] == 110
    assert row["fps"] == 100.0


def test_rows_of_the_same_frame_written_after_the_checkpoint_are_taken_back(tmp_path):
    first = make(tmp_path)
    first.dump(100, "train")
    state = first.state_dict()
    first.dump(100, "train")  # then killed
    second = make(tmp_path)
    second.truncate(200)
    assert len(rows(tmp_path)) == 2
    second.load_state_dict(state)
    assert len(rows(tmp_path)) == 1


def test_begin_again(tmp_path):
    with make(tmp_path) as first:
        first.log("old", 1.0, "train")
        first.dump(0, "train")
    with make(tmp_path) as second:
        second.truncate(-1)
        second.dump(0, "train")
    assert list(rows(tmp_path)[0]) == list(DREAMER.columns["train"])


def test_close_twice_and_say(tmp_path, capsys):
    logger = make(tmp_path)
    logger.say("resumed at frame 0")
    logger.close()
    logger.close()
    assert capsys.readouterr().out == "resumed at frame 0\n"
