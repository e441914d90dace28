import pytest

from agents.nn.chunks import chunks


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9])
@pytest.mark.parametrize("most", [-1, 0, 1, 3, 8, 100])
def test_chunks_cover_every_row_once(rows, most):
    parts = [list(range(rows))[part] for part in chunks(rows, most)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert all(1 <= len(part) <= max(most, 1) for part in parts)
