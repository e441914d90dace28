"""Files a tool is asked for are not written over those of another kind."""

from pathlib import Path

import pytest

from utils.errors import UserError
from utils.report import check_output, write_json


def test_an_earlier_output_is_replaced_and_any_other_file_is_not(tmp_path):
    report, picture = tmp_path / "r.json", tmp_path / "p.png"
    for option, path in (("--json", report), ("json", report), ("--frames-png", picture)):
        check_output(option, path)
    write_json(report, {"a": 1})
    check_output("--json", report)
    picture.write_bytes(b"\x89PNG rest")
    check_output("--frames-png", picture)
    others = {"a.pt": b"PK\x03\x04", "b.csv": b"frame,reward\n", "c.png": b"\x89PNG"}
    for name, start in others.items():
        (tmp_path / name).write_bytes(start)
        with pytest.raises(UserError, match=f"--json={tmp_path / name}"):
            check_output("--json", tmp_path / name)
    with pytest.raises(UserError, match=f"--frames-png={report}"):
        check_output("--frames-png", report)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_not_replaced():
    with pytest.raises(UserError, match="json=/dev/"):
        check_output("json", Path("/dev/null"))
