"""The table fits the width it is given and loses no word."""

from doctoring.row import Status, ok, refused, warn
from doctoring.table import table
from utils.errors import UserError


def test_columns_and_wrapping():
    rows = {"one": ok("all is well"), "two": warn("word " * 30 + "end", "mend\nthis one")}
    lines = table(rows, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["check", "status", "found", "fix"]
    assert lines[2] == "one    OK      all is well"
    text = " ".join(lines)
    assert text.count("word") == 30 and "end" in text and "mend" in lines[3] and "this one" in lines[4]


def test_a_message_is_split_into_what_and_what_to_do():
    row = refused(UserError("replay.capacity=9 is too small. Set it to 10. Or more."))
    assert row == (Status.FAIL, "replay.capacity=9 is too small.", "Set it to 10. Or more.")
    assert refused(UserError("no sentence"), "do this") == (Status.FAIL, "no sentence", "do this")
