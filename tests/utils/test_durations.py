import pytest

from utils.durations import about


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (-3, "0 ms"),
        (0.0523, "52 ms"),
        (1, "1 s"),
        (2.34, "2.3 s"),
        (99.4, "99 s"),
        (100, "1.7 min"),
        (5990, "100 min"),
        (6000, "1.7 h"),
        (47 * 3600, "47 h"),
        (2 * 86400, "2.0 days"),
        (62.3 * 86400, "62 days"),
        (5000 * 86400, "5,000 days"),
    ],
)
def test_two_figures_and_the_unit(seconds, text):
    assert about(seconds) == text
