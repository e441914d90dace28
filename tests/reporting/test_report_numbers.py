"""Numbers of a report against others that are worked out by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contents_kit import write_snapshot
from settings_kit import compose_settings
from snapshot_kit import made_by

from analysis.cells import coverage
from entry.settings import composed
from reporting.behaviour import growth
from reporting.command import newest
from reporting.model import batch, losses, principal
from reporting.origin import differing
from reporting.subject import NotHere
from training import checkpoint
from training.restored import restore_agent
from utils.errors import UserError


def test_growth_counts_what_is_new():
    states = np.zeros((6, 18))
    states[:, 0] = [0.0, 0.0, 0.3, 0.0, 0.3, -0.5]  # heights of the torso, of which three are distinct
    assert growth("walker", [states[:4], states[4:]]).tolist() == [1, 1, 2, 2, 2, 3]
    assert growth("walker", [states])[-1] == coverage("walker", states)


def test_the_plane_of_most_variance():
    random = np.random.default_rng(0)
    flat = random.normal(size=(500, 2)) * [3.0, 1.0]
    turn = np.linalg.qr(random.normal(size=(5, 5)))[0][:2]
    middle, directions, shares = principal((flat @ turn + 7).astype(np.float32))
    assert middle == pytest.approx(7 + flat.mean(0) @ turn, abs=1e-5)
    covariance = np.cov((flat @ turn).T)
    expected = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    assert shares == pytest.approx(expected[:2] / expected.sum(), rel=1e-4) and shares.sum() == pytest.approx(1)
    assert abs(directions[0] @ turn[0]) > 0.99 and abs(directions[1] @ turn[1]) > 0.99


def episode(length, shape=(3, 64, 64)):
    random = np.random.default_rng(length)
    images = random.integers(0, 255, (length + 1, *shape), np.uint8)
    return SimpleNamespace(images=images, actions=random.uniform(-1, 1, (length, 6)).astype(np.float32))


def test_actions_lie_beside_what_they_led_to():
    one, other = episode(5), episode(6)
    seen, led, begins = batch([one, other], 0, 4)
    assert begins.tolist() == [[True, False, False, False]] * 2 and (led[:, 0] == 0).all()
    np.testing.assert_array_equal(led[1, 1:], other.actions[:3])
    seen, led, begins = batch([one], 2, 3)
    assert not begins.any()
    np.testing.assert_array_equal(seen[0], one.images[2:5])
    np.testing.assert_array_equal(led[0], one.actions[1:4])  # the action before the first record led to it


def test_losses_are_the_world_models(tmp_path):
    content = checkpoint.load(made_by(tmp_path / "a.pt", "pretrain", "preset=debug", "domain=walker"), "snapshot")
    agent = restore_agent(content)
    played = [episode(11), episode(7)]
    torch.manual_seed(0)
    kl, observation = losses(agent, played, 4)
    assert len(kl) == 3 + 2
    torch.manual_seed(0)
    with torch.no_grad():
        seen = agent.world_model.observe(*batch([played[0]], 0, 4))
        model = agent.world_model.decoder(seen.feat).double()
    truth = torch.from_numpy(played[0].images[:4]).double() / 255 - 0.5
    half = 0.5 * (truth - model[0]).square().sum((1, 2, 3)).mean() + 0.5 * math.log(2 * math.pi) * 3 * 64 * 64
    assert observation[0] == pytest.approx(float(half), rel=1e-5) and kl[0] == pytest.approx(float(seen.kl.mean()))
    with pytest.raises(NotHere, match="20"):
        losses(agent, played, 20)


def test_settings_that_are_not_the_presets():
    words = ["preset=debug", "agent=diayn_dreamer", "domain=walker"]
    config = compose_settings("pretrain", *words, "batch_size=3", "agent.skill_dim=3", "device=cpu")
    config |= {"phase": "pretrain", "choices": composed("pretrain", words)["choices"]}
    base = composed("pretrain", words)
    assert list(differing(config)) == [
        ("batch_size", 3, base["batch_size"]),
        ("agent.skill_dim", 3, base["agent"]["skill_dim"]),
    ]
    with pytest.raises(UserError, match="phase=else"):
        list(differing(config | {"phase": "else"}))


def test_the_newest_snapshot_of_a_run(tmp_path, monkeypatch):
    snapshots, run = tmp_path / "snapshots", tmp_path / "run"
    run.mkdir()
    for name, run_id in (("snapshot_10.pt", "a"), ("snapshot_20.pt", "a"), ("snapshot_30.pt", "b")):
        write_snapshot(snapshots / name, run_id=run_id)
    stored = compose_settings("pretrain", "preset=debug", f"snapshot_dir={snapshots}")
    stored |= {"phase": "pretrain", "run_id": "a"}
    monkeypatch.setattr("reporting.command.read_config", lambda folder: stored)
    assert newest(run) == snapshots / "snapshot_20.pt"  # the newer one is another run's
    stored["run_id"] = "c"
    with pytest.raises(UserError, match="no snapshot"):
        newest(run)
