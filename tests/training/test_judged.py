"""What a discriminator says of episodes, against sums by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.judged import judge, predicted_entropy, share_named

IMAGES = np.zeros((4, 3, 2, 2), np.uint8)


def judged(rows, skill):
    """Of an agent whose discriminator says ``rows`` of the steps."""
    agent = SimpleNamespace(skill_log_probs=lambda images: torch.tensor(rows).log())
    return judge(agent, IMAGES, np.eye(len(rows[0]), dtype=np.float32)[skill])


FIRST = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75]]
SECOND = [[0.75, 0.125, 0.125]]


def test_one_episode():
    found = judged(FIRST, 2)
    expected = [math.log(3 * p) for p in (0.25, 0.25, 0.75)]
    np.testing.assert_allclose(found.rewards, expected, rtol=1e-5)
    assert found.named == 1
    np.testing.assert_allclose(found.probs, [0.875, 0.875, 1.25], rtol=1e-6)


def test_episodes_count_by_their_steps():
    both = [judged(FIRST, 2), judged(SECOND, 0)]
    assert share_named(both) == 2 / 4 and share_named(both[:1]) == pytest.approx(1 / 3)
    mean = [1.625 / 4, 1 / 4, 1.375 / 4]
    assert predicted_entropy(both) == pytest.approx(-sum(p * math.log(p) for p in mean), rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "entropy"),
    [
        ([[1.0, 0.0, 0.0, 0.0]] * 2, 0.0),  # collapsed
        ([[1.0, 0.0], [0.0, 1.0]], math.log(2)),  # sure of both, equally often
        ([[0.25] * 4], math.log(4)),
    ],
)
def test_entropy_at_its_ends(rows, entropy):
    assert predicted_entropy([judged(rows, 0)]) == pytest.approx(entropy, abs=1e-7)


def test_an_agent_without_a_discriminator():
    assert judge(SimpleNamespace(skill_log_probs=lambda images: None), IMAGES, np.zeros(0, np.float32)) is None
