import csv
import math
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.csv_log import CsvLog, format_cell, read_columns
from utils.errors import UserError

COLUMNS = ("episode", "frame", "step")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.csv"


def write(path, rows):
    log = CsvLog(path, COLUMNS)
    for row in rows:
        log.append(row)
    log.close()
    return log


def cells(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_first_row_declares_the_columns(path):
    write(path, [{"frame": 10, "b": 0.5, "a": 1.25, "step": 5}])
    assert path.read_text() == "episode,frame,step,a,b\n,10,5,1.25,0.5\n"


def test_absent_values_are_empty_not_zero(path):
    write(path, [{"frame": 10, "a": 1.5}, {"frame": 20}, {"frame": 30, "a": 0.0}])
    assert cells(path)[1:] == [["", "10", "", "1.5"], ["", "20", "", ""], ["", "30", "", "0"]]


def test_later_keys_become_columns_on_the_right(path):
    write(path, [{"frame": 10, "m": 1.0}, {"frame": 20, "z": 2.0, "c": 3.0}, {"frame": 30, "z": 4.0}])
    assert cells(path) == [
        ["episode", "frame", "step", "m", "c", "z"],
        ["", "10", "", "1", "", ""],
        ["", "20", "", "", "3", "2"],
        ["", "30", "", "", "", "4"],
    ]


def test_same_number_of_keys_but_other_ones(path):
    """The case in which the reference raises."""
    write(path, [{"frame": 10, "a": 1.5}, {"frame": 20, "b": 2.5}])
    assert cells(path)[1:] == [["", "10", "", "1.5", ""], ["", "20", "", "", "2.5"]]


def test_fewer_keys_after_a_resume_stay_under_their_names(path):
    """The case in which the reference's values land in the wrong columns."""
    write(path, [{"frame": 10, "a": 1.5, "b": 2.5}])
    write(path, [{"frame": 20, "b": 3.5}])
    assert cells(path)[1:] == [["", "10", "", "1.5", "2.5"], ["", "20", "", "", "3.5"]]


def test_new_base_columns_join_an_older_file(path):
    path.write_text("frame,a\n10,1\n")
    write(path, [{"frame": 20, "step": 10, "a": 2}])
    assert cells(path) == [["frame", "a", "episode", "step"], ["10", "1", "", ""], ["20", "2", "", "10"]]


def test_rows_are_flushed_at_once(path):
    log = CsvLog(path, COLUMNS)
    for frame in (10, 20, 30):
        log.append({"frame": frame})
        assert cells(path)[-1] == ["", str(frame), ""]
    assert len(log) == 3
    log.close()


def test_a_row_needs_its_frame(path):
    with pytest.raises(ValueError, match="'frame'"):
        CsvLog(path, COLUMNS).append({"step": 1})
    assert not path.exists()


@pytest.mark.parametrize(
    "tail", ["1,3", "1,30,15,0.2", "1,30\n", "1,30,15,abc\n", "1,,15,1\n", "\0\0\0\0", "\0\0\0\n", '"1,30,15,2\n', "\n"]
)
def test_broken_last_line_is_cut(path, tail, caplog):
    write(path, [{"frame": 10, "a": 1.5}, {"frame": 20, "a": 2.5}])
    whole = path.read_text()
    path.write_text(whole + tail)
    log = CsvLog(path, COLUMNS)
    assert path.read_text() == whole
    assert "incomplete line" in caplog.text
    log.append({"frame": 30, "a": 3.5})
    log.close()
    assert cells(path)[1:] == [["", "10", "", "1.5"], ["", "20", "", "2.5"], ["", "30", "", "3.5"]]


@pytest.mark.parametrize(
    ("content", "odd"),
    [
        ("frame,step\n10,5\n# tuned by hand\n20,10\n", True),
        ("\nframe,step\n10,5\n", True),
        ("frame,step\n10,5\n20;10\n", True),
        ("frame,step\n10,5\n\n\0\0\n20,1", False),
        ("", False),
    ],
)
def test_a_file_with_lines_that_no_kill_left_is_kept(path, content, odd):
    path.write_text(content)
    CsvLog(path, COLUMNS)
    kept = path.with_name("previous_1_train.csv")
    assert (kept.read_text() if kept.exists() else None) == (content if odd else None)


@pytest.mark.parametrize("content", ["", "episode,fra", "episode,frame,step,a\n", "episode,frame,step,a\n1,2"])
def test_a_file_without_a_row_begins_again(path, content):
    path.write_text(content)
    write(path, [{"frame": 10, "other": 1.5}])
    assert path.read_text() == "episode,frame,step,other\n,10,,1.5\n"


def test_a_foreign_file_is_left_alone(path):
    path.write_text("name,score\nx,1\n")
    with pytest.raises(UserError, match="no column 'frame'"):
        CsvLog(path, COLUMNS)
    assert path.read_text() == "name,score\nx,1\n"


def test_truncate_keeps_rows_up_to_the_frame(path):
    log = write(path, [{"frame": frame, "a": frame / 7} for frame in (10, 20, 30, 40)])
    log.truncate(25)
    assert [row[1] for row in cells(path)] == ["frame", "10", "20"]
    log.append({"frame": 26, "a": 0.5})
    log.close()
    assert [row[1] for row in cells(path)] == ["frame", "10", "20", "26"]
    log.truncate(26)
    assert len(log) == 3


def test_truncate_while_open_writes_to_the_new_file(path):
    log = CsvLog(path, COLUMNS)
    for frame in (10, 20):
        log.append({"frame": frame})
    log.truncate(10)
    log.append({"frame": 15})
    assert [row[1] for row in cells(path)] == ["frame", "10", "15"]
    log.close()


def test_truncate_everything_forgets_the_header(path):
    log = write(path, [{"frame": 0, "old": 1.5}])
    log.truncate(-1)
    assert not path.exists()
    log.append({"frame": 0, "new": 2.5})
    log.close()
    assert cells(path) == [["episode", "frame", "step", "new"], ["", "0", "", "2.5"]]


def test_truncate_without_a_file(path):
    log = CsvLog(path, COLUMNS)
    log.truncate(10)
    log.truncate_rows(0)
    assert not path.exists()


def test_truncate_rows(path):
    log = write(path, [{"frame": 10}, {"frame": 10}, {"frame": 10}])
    log.truncate_rows(5)
    assert len(log) == 3
    log.truncate_rows(2)
    assert len(cells(path)) == 3


def test_a_failed_rewrite_leaves_the_old_file(path, monkeypatch):
    log = write(path, [{"frame": 10, "a": 1.5}])
    before = path.read_text()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        log.append({"frame": 20, "late": 1.0})
    assert path.read_text() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["train.csv"]


# ---- columns of words

EPISODES = ("type", "step", "skill")


def episodes_log(path):
    return CsvLog(path, EPISODES, order_by="step", text=("type",))


def write_episodes(path, rows):
    log = episodes_log(path)
    for kind, step in rows:
        log.append({"type": kind, "step": step, "skill": step % 3})
    log.close()
    return log


def test_words_stand_as_they_are(path):
    write_episodes(path, [("eval", 0), ("train", 125)])
    assert path.read_text() == "type,step,skill\neval,0,0\ntrain,125,2\n"


@pytest.mark.parametrize("words", ["two, three", 'a "quoted" one', "1.5", "nan", "", "skill é"])
def test_any_words_survive_a_resume(path, words):
    write_episodes(path, [(words, 10)])
    log = write_episodes(path, [("train", 20)])
    assert len(log) == 2
    assert [row[0] for row in cells(path)[1:]] == [words, "train"]


@pytest.mark.parametrize(
    "tail",
    ["t", "train", "train,3", "train,30,0", "train,30\n", "train,30,0,5\n", "train,,0\n", "train,30,eval\n"]
    + ["30,train,0\n", "\0\0\0\n", "\n", '"train,30,0\n'],
)
def test_a_broken_last_line_among_words_is_cut(path, tail, caplog):
    write_episodes(path, [("eval", 10), ("train", 20)])
    whole = path.read_text()
    path.write_text(whole + tail)
    log = episodes_log(path)
    assert path.read_text() == whole and len(log) == 2
    assert "incomplete line" in caplog.text
    write_episodes(path, [("train", 30)])
    assert path.read_text() == whole + "train,30,0\n"


def test_truncate_among_words(path):
    log = write_episodes(path, [("eval", 0), ("eval", 0), ("train", 10), ("eval", 10), ("train", 20)])
    log.truncate(10)
    assert [row[:2] for row in cells(path)[1:]] == [["eval", "0"], ["eval", "0"], ["train", "10"], ["eval", "10"]]
    log.truncate_rows(3)
    assert [row[:2] for row in cells(path)[1:]] == [["eval", "0"], ["eval", "0"], ["train", "10"]]
    log.append({"type": "eval", "step": 10, "skill": 1})
    log.close()
    assert cells(path)[-1] == ["eval", "10", "1"] and len(log) == 4


def test_a_late_column_beside_words(path):
    write_episodes(path, [("eval", 10)])
    log = episodes_log(path)
    log.append({"type": "train", "step": 20, "late": 0.5})
    log.close()
    assert path.read_text() == "type,step,skill,late\neval,10,1,\ntrain,20,,0.5\n"


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"type": "train", "step": "ten"}, "step"),
        ({"type": "train", "step": 1, "x": "y"}, "x"),
        ({"type": "a\nb", "step": 1}, "type"),
    ],
)
def test_words_that_a_resume_would_cut_are_refused(path, row, refused):
    with pytest.raises(ValueError, match=f"{re.escape(repr(row[refused]))}.*{refused!r}"):
        episodes_log(path).append(row)
    assert not path.exists()


@given(kinds=st.lists(st.sampled_from(["train", "eval"]), min_size=1, max_size=9), kill_bytes=st.integers(0, 60))
def test_words_killed_and_resumed_anywhere(tmp_path_factory, kinds, kill_bytes):
    path = tmp_path_factory.mktemp("csv") / "episodes.csv"
    rows = [(kind, 100 * number) for number, kind in enumerate(kinds)]
    write_episodes(path, rows)
    whole = path.read_text()
    os.truncate(path, max(path.stat().st_size - kill_bytes, 0))
    kept = len(episodes_log(path))
    assert kept <= len(rows)
    write_episodes(path, rows[kept:])
    assert path.read_text() == whole


@given(st.floats(allow_nan=False))
def test_cells_read_back_exactly(value):
    assert float(format_cell(value)) == value


def test_whole_numbers_have_no_point():
    assert [format_cell(x) for x in (7000, 7000.0, 0.5, -3.0, 1e300)] == ["7000", "7000", "0.5", "-3", "1e+300"]
    assert format_cell(math.nan) == "nan"


def test_read_columns(path):
    write(path, [{"frame": 10, "a": 1.5}, {"frame": 20}])
    path.write_text(path.read_text() + "1,3")
    columns = read_columns(path)
    assert columns["frame"] == [10.0, 20.0]
    assert columns["a"][0] == 1.5
    assert math.isnan(columns["a"][1])


def test_read_columns_names_the_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.csv"):
        read_columns(tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="empty"):
        read_columns(tmp_path / "empty.csv")


keys = st.sampled_from(["a", "b", "c", "d"])
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    rows=st.lists(st.dictionaries(keys, numbers), min_size=1, max_size=12),
    kill_row=st.integers(0, 12),
    kill_bytes=st.integers(0, 40),
)
def test_killed_and_resumed_anywhere_every_value_has_its_name(tmp_path_factory, rows, kill_row, kill_bytes):
    path = tmp_path_factory.mktemp("csv") / "train.csv"
    rows = [row | {"frame": float(i)} for i, row in enumerate(rows)]
    kill_row = min(kill_row, len(rows))
    write(path, rows[:kill_row])
    if path.exists():  # the last bytes never reached the disk
        size = path.stat().st_size
        os.truncate(path, max(size - kill_bytes, 0))
    log = CsvLog(path, COLUMNS)
    for row in rows[len(log) :]:
        log.append(row)
    log.close()
    columns = read_columns(path)
    for i, row in enumerate(rows):
        got = {key: values[i] for key, values in columns.items() if not math.isnan(values[i])}
        assert got == row
