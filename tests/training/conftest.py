"""Runs of ``drq_train.py`` that many tests look at; each is made once."""

import pytest
from drq_run_kit import watch


@pytest.fixture(scope="session")
def skilled(tmp_path_factory):
    """With three skills, an evaluation episode each."""
    return watch(tmp_path_factory.mktemp("skilled"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """Without skills, two evaluation episodes, two updates a step."""
    return watch(tmp_path_factory.mktemp("plain"), "num_skills=0", "num_train_iters=2", "num_eval_episodes=2")


@pytest.fixture(params=["skilled", "plain"])
def watched(request):
    """Both."""
    return request.getfixturevalue(request.param)
