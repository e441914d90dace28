"""Snapshots that can be read and hold what they should not: every tool that loads one says so in a line."""

import sys

import pytest
import torch
from hostile_kit import CODE, mutants, put
from old_kit import SNAPSHOT, unpack
from short_kit import cut_after

from analysis import describe, planner_probe, skill_probe
from training import checkpoint
from utils.atomic import atomic_path
from utils.seal import seal

FILES = {"pretrained": SNAPSHOT, "finetuned": "finetune/finetuned_snapshot.pt", "drq": "drq/models/final_model.pt"}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What sound snapshots hold, in today's form."""
    folder = unpack(tmp_path_factory.mktemp("old"))
    newest = {"format": checkpoint.FORMATS["snapshot"][-1]}
    return {name: checkpoint.load(folder / path) | newest for name, path in FILES.items()}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Episodes of three steps."""
    for tool in (skill_probe, planner_probe):
        monkeypatch.setattr(tool, "build_env", cut_after(3))


def write(path, content):
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
        seal(temporary)
    return path


def tell(path, capsys, monkeypatch):
    """Exit status and message of every tool."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["describe", str(path)])
    for tool in (describe.main, lambda: skill_probe.main(probe(path)), lambda: planner_probe.main(probe(path))):
        status = tool()
        yield status, capsys.readouterr().err


def probe(path):
    return [str(path), "--episodes", "2"]


def test_sound_ones_are_taken(contents, tmp_path, capsys, monkeypatch):
    taken = {name: [status for status, _ in tell(write(tmp_path / "a.pt", content), capsys, monkeypatch)]
             for name, content in contents.items()}  # fmt: skip
    assert taken == {"pretrained": [0, 0, 1], "finetuned": [0, 0, 0], "drq": [0, 0, 1]}


@pytest.mark.parametrize("count", [6, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", FILES)
def test_hostile_ones_are_a_line_each(contents, tmp_path, capsys, monkeypatch, name, count):
    for number, (said, content) in enumerate(mutants(contents[name], count, seed=len(name))):
        path = write(tmp_path / f"{number}.pt", content)
        before = path.read_bytes()
        for status, error in tell(path, capsys, monkeypatch):
            lines = [line for line in error.splitlines() if line]
            assert status in (0, 1), said
            assert status == 0 or (len(lines) == 1 and lines[0].startswith("error: ") and len(error) < 900), said
            assert error.replace("\n", "").isprintable(), said
        assert path.read_bytes() == before
        path.unlink()
    assert CODE not in sys.modules
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["_target_", "method", "drives"])
def test_code_is_not_chosen_by_a_snapshot(contents, tmp_path, capsys, key):
    content = contents["pretrained"]
    agent = content["config"]["agent"] | {key: f"{CODE}.Agent"}
    path = write(tmp_path / "a.pt", content | {"config": content["config"] | {"agent": agent}})
    assert skill_probe.main(probe(path)) == 1
    assert f"--import={CODE}.Agent" in capsys.readouterr().err and CODE not in sys.modules


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(contents, tmp_path, capsys, monkeypatch, value):
    name = next(iter(contents["drq"]["modules"]["actor"]))
    spoilt = put(contents["drq"], ("modules", "actor", name), lambda weight: torch.full_like(weight, value))
    for status, error in tell(write(tmp_path / "a.pt", spoilt), capsys, monkeypatch):
        assert status == 1 and f"actor.{name}" in error


@pytest.mark.parametrize(
    "change", [{"rssm": {"deter": 65536, "hidden": 65536, "stoch": 32, "discrete": 32}},
               {"actor": {"layers": 100, "units": 65536, "min_std": 0.1, "dist": "clipped_normal"}},
               {"planner": {"num_samples": 10**12}}, {"image_size": 1024}, {"action_repeat": 10**12}],
)  # fmt: skip
def test_absurd_sizes_are_refused_before_anything_is_made(contents, tmp_path, capsys, monkeypatch, change):
    def made(*_):
        raise AssertionError("an agent with memory was made")

    content = contents["finetuned"]
    config = {key: {**content["config"][key], **value} if isinstance(value, dict) else value
              for key, value in change.items()}  # fmt: skip
    path = write(tmp_path / "a.pt", content | {"config": content["config"] | config})
    if "rssm" in change or "actor" in change or "planner" in change:
        monkeypatch.setattr("training.restored.build_agent", made)
    assert planner_probe.main(probe(path)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
