"""Runs whose batches are drawn ahead, or come from a copy on a device, are the runs they would have been."""

import functools
from itertools import product

import pytest
import torch
from kill_kit import Kill, assert_same_runs, in_child, play
from run_kit import DEBUG, SHORT
from settings_kit import compose_settings, typed
from sweep_kit import sweep

from entry.start import launch
from replay import Replay
from training.parts import _build_replay

CASES = {
    # evicts, reports, chooses a skill on replayed data, and writes checkpoints in the middle of episodes
    "finetune": (
        *(*SHORT, "agent=deviation_dreamer", "save_video=false", "num_train_frames=2510", "replay.capacity=242"),
        *("recon_every_frames=400", "snapshot_ts=0", "checkpoint_every_minutes=0.01", "evaluate=false"),
    ),
    "drq": (
        *(*DEBUG, "save_video=false", "task=cartpole_swingup"),
        *("num_train_steps=510", "num_skills=2", "eval_frequency=1000"),
        *("replay_buffer_capacity=300", "checkpoint_every_minutes=0.01"),
    ),
}
AHEAD, COPIED = "replay.prefetch=true", "replay.device=cpu"
ASKED = ("config.replay.prefetch", "config.replay.device")
"""What the files of two such runs say about it."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """``plain(script)``: the folder of a run without either."""

    @functools.cache
    def made(script):
        folder = tmp_path_factory.mktemp(script) / "plain"
        launch(compose_settings(script, *CASES[script]), folder, script)
        return folder

    return made


@pytest.fixture
def accepted(monkeypatch):
    """For every batch of a replay that draws ahead, whether it was drawn ahead."""
    found, original = [], Replay._accept

    def accept(self, ahead):
        host = original(self, ahead)
        found.append(host is not None)
        return host

    monkeypatch.setattr(Replay, "_accept", accept)
    return found


@pytest.mark.parametrize(
    ("script", "more"), sweep(product(CASES, [(AHEAD,), (COPIED,), (AHEAD, COPIED)]), [("finetune", (AHEAD,))])
)
def test_a_run_ends_bit_for_bit_the_same(plain, accepted, tmp_path, script, more):
    folder = plain(script)
    accepted.clear()
    run = launch(compose_settings(script, *CASES[script], *more), tmp_path / "run", script)
    assert run.updates > 50
    assert (run.replay._prefetch is not None, run.replay._ring is not None) == (AHEAD in more, COPIED in more)
    assert_same_runs(folder, tmp_path / "run", ASKED)
    # an episode ends now and then; nearly all other batches are there already
    assert sum(accepted) > 0.8 * len(accepted) if AHEAD in more else not any(accepted)


@pytest.mark.parametrize("script", CASES)
def test_null_draws_ahead_on_cuda_only(script, tmp_path):
    settings = typed(script, *CASES[script])
    spec = dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool")) | {"observation": ((1,), "uint8")}
    for device, asked, expected in (
        ("cpu", None, False),
        ("cuda", None, True),
        ("cpu", True, True),
        ("cuda", False, False),
    ):
        config = settings.model_copy(update={"replay": settings.replay.model_copy(update={"prefetch": asked})})
        replay = _build_replay(config, tmp_path / f"{device}_{asked}", spec, 0, torch.device(device))
        assert (replay._prefetch is not None) == expected


@pytest.mark.parametrize("script", sweep(CASES, ["drq"]))
def test_a_run_that_draws_ahead_and_is_killed_is_bit_for_bit_the_one_that_does_neither(plain, tmp_path, script):
    folder = plain(script)
    config = compose_settings(script, *CASES[script], AHEAD)
    first, second, third = (330, 390, 460) if script == "drq" else (140, 152, 166)
    kills = [Kill(first, "update", 400), Kill(second, "checkpoint", 5000), Kill(third, "collect", 100)]
    log = tmp_path / "log"
    for number, kill in enumerate([*kills, None]):
        code = in_child(play, config, tmp_path / "killed", script, number > 0, kill, log)
        assert code == (0 if kill is None else -9), log.read_text()[-3000:]
    assert_same_runs(folder, tmp_path / "killed", ASKED)
