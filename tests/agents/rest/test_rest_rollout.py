"""Where episodes begin and end in a rollout, and their returns."""

import pytest
import torch
from rest_kit import make_rest, make_rollout

from agents.rest.rollout import Episodes, Rollout


def test_room():
    rollout = Rollout.empty(2, 3, 4, 5, "cpu").checked()
    assert rollout.obs.shape == rollout.next_obs.shape == (2, 3, 4) and rollout.action.shape == (2, 3, 5)
    assert rollout.terminated.dtype == rollout.truncated.dtype == torch.bool and not rollout.terminated.any()


@pytest.mark.parametrize("name", ["next_obs", "action", "log_prob", "reward", "terminated", "truncated"])
def test_wrong_shapes_are_named(name):
    rollout = Rollout.empty(2, 3, 4, 5, "cpu")
    with pytest.raises(AssertionError, match=name):
        rollout._replace(**{name: getattr(rollout, name)[:, :-1]}).checked()


def test_cuts_and_beginnings():
    rollout = make_rollout(make_rest())
    want = rollout.terminated.clone()
    for row in range(3):
        for t in range(12):
            want[row, t] = rollout.terminated[row, t] or rollout.truncated[row, t] or t == 11
    before = rollout.terminated.clone()
    assert torch.equal(rollout.cut, want)
    assert torch.equal(rollout.terminated, before)  # it was not written to
    begins = [[t == 0 or bool(want[row, t - 1]) for t in range(12)] for row in range(3)]
    assert rollout.begins.tolist() == begins and rollout.begins.sum() == 7


def test_returns_and_lengths_of_episodes():
    reward = torch.tensor([[1.0, 2, 4, 8], [16, 32, 64, 128]])
    cut = torch.tensor([[False, True, False, True], [False, False, False, True]])
    episodes = Episodes.of(reward, cut)
    assert episodes.returns.tolist() == [3, 12, 240] and episodes.lengths.tolist() == [2, 2, 4]
    found = episodes.summary("task_")
    want = {
        "task_return_mean": 85, "task_return_std": ((82**2 + 73**2 + 155**2) / 3) ** 0.5, "task_return_max": 240,
        "task_return_min": 3, "task_length_mean": 8 / 3, "task_length_std": (8 / 9) ** 0.5, "task_length_max": 4,
        "task_length_min": 2,
    }  # fmt: skip
    assert {key: value.item() for key, value in found.items()} == pytest.approx(want, rel=1e-5)


def test_every_step_is_an_episode():
    reward = torch.randn(3, 5)
    episodes = Episodes.of(reward, torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(episodes.returns, reward.flatten(), rtol=0, atol=1e-6)
    assert episodes.lengths.tolist() == [1] * 15
    assert episodes.summary()["length_std"] == 0
