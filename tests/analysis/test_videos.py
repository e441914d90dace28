"""analysis.videos: skills of a snapshot filmed again, at any size."""

import imageio.v3
import numpy as np
import pytest
from run_kit import SHORT
from snapshot_kit import made_by

from analysis.videos import main


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("filmed") / "skills.pt"
    made_by(path, "pretrain", *SHORT, "agent=diayn_dreamer", "agent.skill_dim=3", "domain=walker")
    return path


def filmed(path, *words):
    assert main([*words, f"video={path}"]) == 0
    return np.asarray(imageio.v3.imread(path))


def test_a_larger_picture_is_of_the_same_steps(snapshot, tmp_path):
    small, large = (
        filmed(tmp_path / f"{size}.gif", str(snapshot), "steps=3", "skills=1", f"size={size}") for size in (64, 128)
    )
    assert small.shape[:3] == (4, 68, 68) and large.shape[:3] == (4, 132, 132)
    without_label = large[:, 40:130, 2:130].astype(int), np.repeat(np.repeat(small, 2, 1), 2, 2)[:, 38:128, 2:130]
    assert np.abs(without_label[0] - without_label[1]).mean() < 25  # of 255: another resolution of the same scene
    other = filmed(tmp_path / "other.gif", str(snapshot), "steps=3", "skills=1", "size=64", "seed=1")
    assert not np.array_equal(small, other)


@pytest.mark.parametrize("words", [["steps=0"], ["size=9"], ["skills=3"], ["task=walker_fly"], ["video=a.txt"]])
def test_refusals(snapshot, capsys, words):
    assert main([str(snapshot), *words]) == 1
    assert words[0].partition("=")[2] in capsys.readouterr().err
