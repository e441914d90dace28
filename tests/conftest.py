"""Shared by all tests; settles the GL backend before any test module imports MuJoCo."""

import gc
import logging
import os
import signal

import hypothesis
import pytest
import torch
from composing_kit import compose_faster
from settings_kit import compose_settings

from envs.gl import choose_backend
from replay.converted import CACHE_VARIABLE
from utils.errors import UserError

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("patient")

# The tensors of the tests are small: a second thread costs more than it gives, and a loaded machine stalls it. Here for
# fixtures of modules, which come before those of tests: sums by two threads are not bit for bit those by one.
torch.set_num_threads(1)

compose_faster()

LONGEST = (
    *("test_drq_evaluation", "test_drq_finetuning", "test_drq_outputs", "test_readme", "test_runs", "test_kills"),
    *("test_compile", "test_overlap", "test_drq_resume", "test_replay_speed", "test_scripts", "test_moved_runs"),
    *("test_every_agent", "test_doctor", "test_request", "test_forecast", "test_command_line", "test_full_disk"),
    *("test_suite_tasks", "test_taken_over", "test_settings", "test_stop_signals", "test_python_api"),
)
"""Files that take longest: begun first, so that no worker is left alone with one of them at the end."""


TOGETHER = dict.fromkeys(("test_drq_evaluation", "test_drq_finetuning", "test_drq_outputs"), "watched runs of DrQ")
"""Files that look at the same runs, which one worker makes once."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """As ``--dist loadfile``, a file at a time, but for those of ``TOGETHER``."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return TOGETHER.get(file.rpartition("/")[2].removesuffix(".py"), file)

    return Files(config, log)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish():
    """What has been imported and collected stays: the garbage collector looks through it no more."""
    gc.collect()
    gc.freeze()


try:
    choose_backend()
except UserError:
    os.environ["MUJOCO_GL"] = "disabled"  # tests of states still run; those of pixels fail and say why


@pytest.fixture
def settings():
    """``settings("pretrain", "preset=debug", ...)`` -> plain configuration."""
    return compose_settings


@pytest.fixture
def hangups():
    """SIGHUP ends processes, as it does where nobody has started the tests with ``nohup``."""
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Hydra sets up logging for a run and leaves it so: a handler would write to the closed output of another test."""
    yield
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) in (logging.StreamHandler, logging.FileHandler):  # pytest's own are of classes of its own
            root.removeHandler(handler)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "hydra" and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
    root.setLevel(logging.WARNING)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Data sets are not converted to the user's folder."""
    os.environ[CACHE_VARIABLE] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_thread():
    """Again, after a test that changed it."""
    torch.set_num_threads(1)
