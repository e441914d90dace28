"""Run folders that a refusal may not touch."""

from contextlib import contextmanager

import pytest

from utils.errors import UserError


def files(folder):
    """Name -> content of all files but the lock."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@contextmanager
def refusal(folder):
    """The block raises a :class:`UserError`, and leaves the files in ``folder`` alone; yields what has caught it."""
    before = files(folder)
    with pytest.raises(UserError) as caught:
        yield caught
    assert files(folder) == before
