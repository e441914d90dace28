"""Sound configurations to spoil, and a guard: whoever builds anything meanwhile fails."""

import pytest
from hydra import compose

from entry import cli
from utils.config import CONFIGS, to_plain

SCRIPTS = ("pretrain", "finetune")
AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
BASES = [(script, agent) for script in SCRIPTS for agent in AGENTS]


def misspelt(draw, name):
    """``name`` with a letter doubled, dropped or replaced, or two swapped."""
    at = draw.randrange(len(name) - 1)
    how = draw.choice(["swapped", "dropped", "doubled", "replaced"])
    if how == "swapped":
        return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    letter = {"dropped": "", "doubled": 2 * name[at], "replaced": draw.choice("abcdefghijklmnop")}[how]
    return name[:at] + letter + name[at + 1 :]


def misspelt_key(draw, keys):
    """A key of ``keys`` with one of its parts misspelt, which is no key and no section; and the one meant."""
    sections = {key.rpartition(".")[0] for key in keys}
    while True:
        key = draw.choice(keys)
        parts = key.split(".")
        at = draw.randrange(len(parts))
        if at == 0 and parts[0] in ("agent", "hydra"):
            continue
        parts[at] = misspelt(draw, parts[at])
        wrong = ".".join(parts)
        letters = all(part.isidentifier() and not part.startswith("hydra") for part in parts)
        if letters and wrong not in keys and wrong not in sections:
            return wrong, key


class Reached(Exception):
    """Something was about to be built."""


@pytest.fixture(scope="module")
def cached():
    """``compose`` of the scripts, which takes most of the time, once for every script and agent."""
    found = {}

    def once(script, overrides):
        key = (script, tuple(sorted(overrides)))
        if key not in found:
            found[key] = compose(script, list(overrides))
        return found[key]

    return once


@pytest.fixture(scope="module")
def bases(cached):
    """The sound configuration of every script and agent, in plain form."""
    found = {}
    with cli.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for script, agent in BASES:
            found[script, agent] = to_plain(cached(script, [f"agent={agent}"]))
    return found


@pytest.fixture(autouse=True)
def nothing_is_built(tmp_path, monkeypatch, cached):
    """In an empty folder, which stays empty; whoever builds anything fails."""

    def reached(*args, **kwargs):
        raise Reached

    for name in ("entry.start.FolderLock", "training.parts.Replay", "envs.make.make"):
        monkeypatch.setattr(name, reached)
    monkeypatch.setattr("training.parts.make", reached)
    monkeypatch.setattr("training.parts.make_vector", reached)
    monkeypatch.setattr("torch.nn.Module.__init__", reached)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cli, "compose", cached)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.rglob("*")) == []
