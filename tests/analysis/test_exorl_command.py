"""``python -m analysis.exorl``: a run exported, imported and sampled, bit for bit; what is said and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from contents_kit import CONFIG, resumable

from analysis.exorl import main
from analysis.exorl_check import histogram
from envs.make import body
from envs.relabel import relabeller
from envs.vector import make_vector
from replay import Replay, exorl
from replay.converted import open_converted
from replay.records import record_spec
from training import checkpoint
from training.parts import TRAIN_ENVS
from training.run import CHECKPOINT
from utils.config import CONFIG_FILE
from utils.seeding import derive

ROOT = Path(__file__).resolve().parents[2]
REPEAT = 25  # episodes of 40 steps


def write_run(
    folder: Path, *, task="walker_walk", pixels=False, repeat=REPEAT, physics=True, num_envs=2, capacity=400, **changes
):
    """A run of two environments that were stepped at random, with an unfinished episode at its end.

    The replay of a run of pixels has images of nothing. Returns the replay and all observations of states, by the
    simulator's.
    """
    settings = {"obs_type": "states", "action_repeat": repeat}
    envs = make_vector(task, num_envs, seed=derive(7, TRAIN_ENVS), **settings)
    rng, seen = np.random.default_rng(0), {}
    shape, dtype = ((3, 4, 4), "uint8") if pixels else ((24,), "float32")
    spec = record_spec(shape, dtype, 6, 0, 18 if physics else None)
    replay = Replay(folder / "replay", spec, capacity=capacity, batch_size=4, batch_length=8, seed=1, num_envs=num_envs)
    done = np.ones(num_envs, bool)
    for _ in range(41 * 6 + 5):
        action = rng.uniform(-1, 1, (num_envs, 6)).astype(np.float32)
        first = done.all()
        if first:
            (observation, info), reward, action = (
                envs.reset(options={"reset_mask": done}),
                np.zeros(num_envs),
                action * 0,
            )
            done = ~done
        else:
            observation, reward, _, done, info = envs.step(action)
        for state, shown in zip(info["physics"], observation["observation"], strict=True):
            seen[state.tobytes()] = shown.copy()
        record = {
            "observation": np.zeros((num_envs, *shape), np.uint8) if pixels else observation["observation"],
            "action": action,
            "reward": reward.astype(np.float32),
            "is_first": np.full(num_envs, first),
            "is_last": done,
            "is_terminal": np.zeros(num_envs, bool),
            "physics": info["physics"],
        }
        replay.add({key: record[key] for key in spec})
    replay.flush()
    config = CONFIG | {
        "task": task,
        "seed": 7,
        "obs_type": "pixels" if pixels else "states",
        "action_repeat": repeat,
        "image_size": 64,
        "env_factory": None,
        "render": {"quality": "lite"},
        "floor": "default",
        **changes,
    }
    checkpoint.save(folder / CHECKPOINT, "checkpoint", resumable(replay=replay.state_dict(), config=config))
    (folder / CONFIG_FILE).write_text(f"task: {task}\n")
    return replay, seen


def stored(replay: Replay) -> list[dict[str, np.ndarray]]:
    """The episodes that can be sampled, in the order in which they were begun."""
    rows = sorted(replay.episodes.tolist(), key=lambda row: (row[1], row[0]))
    return [replay.read(*row) for row in rows]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*"))


@pytest.mark.parametrize("pixels", [False, True])
def test_round_trip(tmp_path, capsys, pixels, monkeypatch):
    replay, seen = write_run(tmp_path / "run", pixels=pixels)
    wanted = stored(replay)
    assert len(wanted) == 8 and replay.episodes[0, 1] > 0  # of twelve: the oldest are evicted
    out, cache = tmp_path / "out", tmp_path / "cache"
    assert main(["export", str(tmp_path / "run"), str(out), "--keep-repeat"]) == 0
    assert "8 episodes, 320 transitions" in capsys.readouterr().out
    about = json.loads((out / "about.json").read_text())
    assert (about["domain"], about["task"], about["action_repeat"]) == ("walker", "walker_walk", REPEAT)
    assert about["exorl"] is False
    # held actions are refused, whoever wants to learn from them; say that there were none
    assert main(["import", str(out), "--cache", str(cache)]) == 1
    assert f"action_repeat={REPEAT}" in capsys.readouterr().err
    (out / "about.json").write_text(json.dumps(about | {"action_repeat": 1}))
    assert main(["import", str(out), "--cache", str(cache), "--physics"]) == 0
    (folder,) = cache.iterdir()
    assert str(folder) in capsys.readouterr().out
    again = open_converted(folder, batch_size=16, batch_length=8, seed=1)
    assert again.num_episodes == 8
    for found, then in zip(stored(again), wanted, strict=True):
        observations = np.stack([seen[state.tobytes()] for state in then["physics"]])
        assert found.keys() == then.keys()
        for key, array in (then | {"observation": observations}).items():
            assert found[key].dtype == array.dtype
            np.testing.assert_array_equal(found[key], array)
    batch = again.sample()
    every = {row.tobytes(): (e, t) for e, part in enumerate(stored(again)) for t, row in enumerate(part["observation"])}
    for window in range(16):
        number, start = every[batch["observation"][window, 0].numpy().tobytes()]
        for key in ("action", "reward", "is_last", "is_terminal"):
            np.testing.assert_array_equal(batch[key][window].numpy(), wanted[number][key][start : start + 8])
        shown = [seen[state.tobytes()] for state in wanted[number]["physics"][start : start + 8]]
        assert torch.equal(batch["observation"][window], torch.from_numpy(np.stack(shown)))


def test_files_are_of_the_published_format(tmp_path):
    replay, _ = write_run(tmp_path / "run", repeat=REPEAT)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--keep-repeat"]) == 0
    found = exorl.episode_files(tmp_path / "out")
    assert [file.path.name for file in found] == [f"episode_00000{index}_40.npz" for index in range(8)]
    for file, then in zip(found, stored(replay), strict=True):
        with np.load(file.path) as archive:
            kinds = {key: (archive[key].dtype, archive[key].shape) for key in archive.files}
            rows = {key: archive[key][0] for key in archive.files}
            np.testing.assert_array_equal(archive["reward"][:, 0], then["reward"])
        single, double = np.dtype("float32"), np.dtype("float64")
        assert kinds == {
            "observation": (single, (41, 24)),
            "action": (single, (41, 6)),
            "reward": (single, (41, 1)),
            "discount": (single, (41, 1)),
            "physics": (double, (41, 18)),
        }
        assert not rows["action"].any() and rows["reward"] == 0 and rows["discount"] == 1


def test_an_import_with_another_reward(tmp_path, capsys):
    write_run(tmp_path / "run", num_envs=1, capacity=300)
    out, cache = tmp_path / "walker" / "random" / "buffer", tmp_path / "cache"
    assert main(["export", str(tmp_path / "run"), str(out), "--keep-repeat"]) == 0
    (out / "about.json").unlink()  # as of others; the domain is in the name of the folder
    for options in (["--relabel", "walker_flip"], ["--capacity", "41"]):
        assert main(["import", str(out.parent), "--cache", str(cache), *options]) == 0
    flip, few = sorted(cache.iterdir(), key=lambda folder: "flip" not in folder.name)
    replay = open_converted(flip, batch_size=1, batch_length=8, seed=1)
    for file, found in zip(exorl.episode_files(out), stored(replay), strict=True):
        with np.load(file.path) as archive:
            np.testing.assert_array_equal(found["reward"], relabeller("walker_flip")(archive["physics"]))
    assert open_converted(few, batch_size=1, batch_length=8, seed=1).num_episodes == 2
    for options, named in (
        (["--relabel", "walker_fly"], "walker_flip"),
        (["--domain", "cheeta"], "cheetah"),
        (["--domain", "quadruped"], "episode_000000_40.npz"),
        (["--domain", "walker", "--relabel", "quadruped_run"], "relabel_task=quadruped_run"),
        (["--capacity", "0"], "--capacity=0"),
    ):
        capsys.readouterr()
        assert main(["import", str(out), "--cache", str(cache), *options]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("error: ") and named in shown and len(shown.splitlines()) == 1
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_exported(tmp_path, capsys):
    write_run(tmp_path / "run")
    write_run(tmp_path / "bare", physics=False, repeat=REPEAT)
    write_run(tmp_path / "own", pixels=True, env_factory="somewhere.make")
    other = tmp_path / "other"
    write_run(other, pixels=True, seed=8)  # another seed leads elsewhere
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    out = tmp_path / "out"
    for arguments, named in (
        ([tmp_path / "empty", out], CONFIG_FILE),
        ([tmp_path / "nowhere", out], "nowhere"),
        ([tmp_path / "run", out], f"action_repeat={REPEAT}.*--keep-repeat"),
        ([tmp_path / "bare", out, "--keep-repeat"], "store_physics"),
        ([tmp_path / "own", out, "--keep-repeat"], "env_factory"),
        ([tmp_path / "run", tmp_path / "full", "--keep-repeat"], "full"),
        ([tmp_path / "run", tmp_path / "full" / "mine", "--keep-repeat"], "mine"),
        ([other, out, "--keep-repeat"], "environment 0"),
    ):
        assert main(["export", *map(str, arguments)]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("error: ") and len(shown.splitlines()) == 1, shown
        assert all(part in shown for part in named.split(".*")), shown
    assert files(tmp_path / "full") == [tmp_path / "full" / "mine"] and not out.exists()


def test_jaco_of_ours_has_a_brick_and_that_of_others_none(tmp_path, capsys):
    for name, exorl_variant in (("ours", False), ("theirs", None)):
        size = body("jaco_reach_top_left", exorl_variant is None)
        rows = {"observation": size.observed, "action": size.actions, "reward": 1, "physics": size.state}
        arrays = {key: np.zeros((10, width), np.float32) for key, width in rows.items()}
        (tmp_path / name).mkdir()
        exorl.write_episode(tmp_path / name, 0, arrays | {"discount": np.ones((10, 1), np.float32)})
        if exorl_variant is not None:
            exorl.write_about(tmp_path / name, {"exorl": exorl_variant, "domain": "jaco"})
        options = [str(tmp_path / name), "--cache", str(tmp_path / "cache"), "--relabel", "jaco_reach_top_left"]
        assert main(["import", *options]) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_check(tmp_path, capsys):
    rewards = np.array([[0, 0], [0.5, 10], [1, 10], [1, 10]], np.float32)
    arrays = {
        "observation": np.arange(12, dtype=np.float32).reshape(4, 3),
        "action": np.zeros((4, 2), np.float32),
        "reward": rewards,
        "discount": np.ones((4, 1), np.float32),
        "skill": np.zeros((4, 5), np.float32),
    }
    for index in range(3):
        exorl.write_episode(tmp_path, index, arrays)
    assert main(["check", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "episodes     3 of 3 to 3 steps, 0 terminated" in lines
    assert any(line.startswith("transitions  9,") for line in lines)
    assert any("skill" in line for line in lines)
    (observation,) = [line.split() for line in lines if line.startswith("observation")]
    assert observation == ["observation", "float32", "(3,)", "0", "11", "5.5", "3.4521"]
    assert "reward 0: of an episode 2.5 to 2.5, mean 2.5" in lines
    assert "reward 1: of an episode 30 to 30, mean 30" in lines
    assert sum("#" in line for line in lines) == 3  # 0.5 and 1; 10
    bad = tmp_path / "episode_000001_3.npz"
    bad.write_bytes(bad.read_bytes()[:200])
    exorl.write_episode(tmp_path, 3, arrays | {"action": np.zeros((4, 3), np.float32)})
    assert main(["check", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "2 of 4 files" in shown and bad.name in shown and "episode_000003_3.npz" in shown


def test_histogram():
    lines = histogram(np.array([0, 0, 0, 1, 10], np.float32))
    assert len(lines) == 10
    assert lines[0].split() == ["0", "to", "1", "60.00%", "#" * 40]
    assert lines[1].split() == ["1", "to", "2", "20.00%", "#" * 13]
    assert lines[9].split() == ["9", "to", "10", "20.00%", "#" * 13]
    assert [line.split()[3] for line in lines[2:9]] == ["0.00%"] * 7
    assert len(histogram(np.ones(4, np.float32))) == 1


def test_the_command_by_itself(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "analysis.exorl", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    shown = run("--help")
    assert shown.returncode == 0 and all(name in shown.stdout for name in ("export", "import", "check"))
    refused = run("check", str(tmp_path))
    assert refused.returncode == 1 and refused.stderr.startswith("error: ") and str(tmp_path) in refused.stderr
