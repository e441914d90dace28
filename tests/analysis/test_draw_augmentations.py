"""The command that draws augmentations."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from analysis.draw_augmentations import GAP, LABEL, draws, main, picture

STACK = torch.arange(3 * 3 * 16 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(3, 3, 16, 16)


def test_rows_are_steps_and_columns_draws_of_whole_stacks():
    sheet = picture(STACK, ["none", {"RandomHorizontalFlip": {"p": 1.0}}], 2, 4)
    assert sheet.size == (2 * 3 * 16 + GAP, 2 * (16 + LABEL))
    frame = sheet.crop((16, LABEL, 32, LABEL + 16))
    assert frame.tobytes() == STACK[1].permute(1, 2, 0).contiguous().numpy().tobytes()
    left = 3 * 16 + GAP
    mirrored = sheet.crop((left, 16 + 2 * LABEL, left + 16, 32 + 2 * LABEL))
    assert mirrored.tobytes() == STACK[0].flip(-1).permute(1, 2, 0).contiguous().numpy().tobytes()


def test_brighter_than_white_is_white():
    found = draws(torch.full((3, 3, 16, 16), 255, dtype=torch.uint8), "intensity", 8, 4)
    assert found.dtype == torch.uint8 and found.max() == 255 and found.min() > 225


@pytest.mark.parametrize("word", ["RandomErase", "{RandomErasing: 3}", "[shift", "{RandomErasing: {q: 1}}"])
def test_what_cannot_be_drawn_is_refused(word, capsys, monkeypatch):
    monkeypatch.setattr("analysis.draw_augmentations.stack_of", lambda *_: STACK)
    assert main([word, "--size", "16"]) == 1
    assert "Random" in (error := capsys.readouterr().err) or word in error


def test_the_picture_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("analysis.draw_augmentations.stack_of", lambda *_: STACK)
    assert main(["shift", "{RandomErasing: {p: 1}}", "--size", "16", "--out", str(tmp_path / "a.png")]) == 0
    assert "shift, RandomErasing p=1" in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.height == 2 * (16 + LABEL)
    assert main(["shift", "--size", "16", "--out", str(tmp_path / "no" / "a.png")]) == 1
    assert Path(__file__).parents[2].joinpath("docs", "agents", "drq_augmentations.png").stat().st_size < 150_000
