"""Sound configurations to spoil, and a guard: whoever builds anything meanwhile fails."""

import copy

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra

from utils.config import CONFIGS, to_plain

SCRIPTS = ("pretrain", "finetune")
AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
BASES = [(script, agent) for script in SCRIPTS for agent in AGENTS]
OFFLINE = ("offline_train", "choreo")
"""Without environments."""


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


@pytest.fixture(scope="module", autouse=True)
def composed_once():
    """Composing takes most of the time: once for every script and command line."""
    original, found = Hydra.compose_config, {}

    def once(hydra, config_name, overrides, run_mode, *rest, **options):
        key = (config_name, tuple(overrides), run_mode, repr(hydra.config_loader.get_search_path()))
        if key not in found:
            found[key] = original(hydra, config_name, overrides, run_mode, *rest, **options)
        return copy.deepcopy(found[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "compose_config", once)
        yield


@pytest.fixture(scope="module")
def bases(composed_once):
    """The sound configuration of every script and agent, in plain form."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        asked = [*BASES, OFFLINE]
        return {(script, agent): to_plain(compose(script, [f"agent={agent}"])) for script, agent in asked}


@pytest.fixture(autouse=True)
def nothing_is_built(tmp_path, monkeypatch):
    """In an empty folder, which stays empty; whoever builds anything fails."""

    def reached(*args, **kwargs):
        raise Reached

    for name in ("entry.start.FolderLock", "training.parts.Replay", "envs.make.make"):
        monkeypatch.setattr(name, reached)
    monkeypatch.setattr("training.parts.make", reached)
    monkeypatch.setattr("training.parts.make_vector", reached)
    monkeypatch.setattr("torch.nn.Module.__init__", reached)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.rglob("*")) == []
