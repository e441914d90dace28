"""Run folders whose files are not what a run left: refused in a line, before anything in them is touched."""

import os
import shutil
import sys

import pytest
import torch
from folder_kit import files, refusal
from hostile_kit import CODE, mutants
from old_kit import SNAPSHOT, put_settings, unpack
from settings_kit import compose_settings

from analysis import coverage
from entry.start import launch
from entry.stored import read_config, stored_settings
from training import checkpoint
from training.run import CHECKPOINT, GaveUp
from utils.config import CONFIG_FILE
from utils.errors import UserError
from utils.plain import leaves
from utils.plain_yaml import dump, read
from utils.seal import seal

LONGER = {"num_train_frames": 2010}

BOMB = "\n".join(["a0: &a0 x", *(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(20))]).encode()
"""Twenty lists of nine of the list before: a few hundred bytes, and 10^19 values."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("old"))


@pytest.fixture
def run(runs, tmp_path, monkeypatch):
    """A finished pre-training, in a folder that the test may spoil."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(runs / "pretrain", tmp_path / "run")


@pytest.fixture(scope="module")
def asked():
    return compose_settings("pretrain")


def go_on(folder, asked):
    return launch(stored_settings(folder, asked) | LONGER, folder, "pretrain", resume=True)


def refused(folder, asked):
    """The message; nothing was touched."""
    with refusal(folder) as caught:
        go_on(folder, asked)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 900, message
    return message


def write_checkpoint(folder, content):
    torch.save(content, folder / CHECKPOINT)
    seal(folder / CHECKPOINT)


def hostile(runs, part, count):
    """What is wrong, and a function that makes it so in a folder."""
    if part == "checkpoint":
        sound = checkpoint.load(runs / "pretrain" / CHECKPOINT, "checkpoint")
        sound |= {"format": checkpoint.FORMATS["checkpoint"][-1]}
        for said, content in mutants(sound, count):
            yield said, lambda folder, content=content: write_checkpoint(folder, content)
        return
    for said, content in mutants(read(runs / "pretrain" / CONFIG_FILE, ""), 4 * count):
        try:
            list(leaves(content))  # what has no end cannot be written out; as YAML has it, see BOMB
            text = dump(content)
        except Exception:  # no YAML has such a value
            continue
        if (count := count - 1) < 0:
            return
        yield said, lambda folder, text=text: (folder / CONFIG_FILE).write_text(text)


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("part", ["checkpoint", "settings"])
def test_hostile_ones_are_a_line_each_and_lose_nothing(runs, run, asked, capsys, part, count):
    sound = files(run)
    for said, spoil in hostile(runs, part, count):
        spoil(run)
        before, went_on = files(run), True
        try:
            go_on(run, asked)
        except UserError as error:
            went_on = isinstance(error, GaveUp)  # by a weight of a loss that is allowed, and absurd
            assert went_on or files(run) == before, said
            assert str(error).isprintable() and len(str(error)) < 900, said
        if went_on:  # what was changed is not read, or changes no file of before
            assert before.keys() <= files(run).keys(), said
            rows = {name: content for name, content in sound.items() if name.suffix == ".csv"}
            assert all((run / name).read_bytes().startswith(content) for name, content in rows.items()), said
        capsys.readouterr()
        assert coverage.main([str(run)]) == 1 and len(capsys.readouterr().err.splitlines()) == 1
        shutil.rmtree(run)
        shutil.copytree(runs / "pretrain", run)
    assert CODE not in sys.modules


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("replay", "streams", 0, "cursor"), 0, "cursor=0"),
        (("replay", "streams", 0, "cursor"), 150, "cursor=150"),
        (("replay", "streams", 0, "cursor"), 10**15, f"cursor={10**15}"),
        (("replay", "steps"), 0, "after 0 steps"),
        (("counters", "step"), 0, "counters.step=0"),
        (("logger", "rows", "train"), 0, "train.csv has 1 rows"),
        (("config", "seed"), 7, "seed=7"),
        (("config", "task"), "walker_run", "task=walker_run"),
        (("agent", "modules", "world_model.encoder.layers.0.bias"), torch.zeros(3), "encoder.layers.0.bias"),
        (("agent", "optimizers", "model", "state", 0, "exp_avg"), torch.zeros(2), "exp_avg"),
        (("collector", "latent"), [torch.zeros(1, 8)], "latent"),
    ],
)
def test_a_checkpoint_at_odds_with_its_run_touches_nothing(run, asked, path, value, words):
    content = checkpoint.load(run / CHECKPOINT, "checkpoint")
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    write_checkpoint(run, content | {"format": checkpoint.FORMATS["checkpoint"][-1]})
    assert words in refused(run, asked)


@pytest.mark.parametrize("other", ["finetune", "drq"])
def test_a_checkpoint_of_another_agent_touches_nothing(runs, run, asked, other):
    shutil.copy(runs / other / CHECKPOINT, run / CHECKPOINT)
    assert str(run / CHECKPOINT) in refused(run, asked)


@pytest.mark.parametrize("name", [CONFIG_FILE, CHECKPOINT, "train.csv", "replay", "replay/stream_0"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_is_told_and_not_waited_for(run, asked, name, kind):
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif name.startswith("replay"):
        path.write_text("a file where a folder belongs")
    else:
        path.mkdir()
    assert str(path) in refused(run, asked)


@pytest.mark.parametrize(
    "text", [b"\x00\xff\x80", b"- a\n- b\n", b"", b"a: [", b"a: !!python/name:os.system ''", b"a: &a [*a]", BOMB]
)
def test_settings_that_are_none(run, asked, text):
    (run / CONFIG_FILE).write_bytes(text)
    assert str(run / CONFIG_FILE) in refused(run, asked)


@pytest.mark.parametrize("key", ["_target_", "method", "drives"])
def test_code_of_ones_own_goes_on_if_the_command_line_names_it(run, asked, key):
    stored = read_config(run)
    put_settings(run, agent=stored["agent"] | {key: f"{CODE}.Agent"})
    assert f"agent.{key}={CODE}.Agent" in refused(run, asked) and CODE not in sys.modules
    again = stored_settings(run, asked | {"agent": asked["agent"] | {key: f"{CODE}.Agent"}})
    assert again["agent"][key] == f"{CODE}.Agent"


def test_absurd_sizes_are_refused_before_they_are_allocated(run, asked, monkeypatch):
    monkeypatch.setattr("training.parts.make_vector", lambda *_, **__: pytest.fail("something was built"))
    put_settings(run, rssm={"deter": 65536, "hidden": 65536, "stoch": 32, "discrete": 32})
    assert refused(run, asked)
    (run / CHECKPOINT).unlink()  # then no checkpoint says that this is not the run's
    assert "memory" in refused(run, asked) or "disk" in refused(run, asked)


@pytest.mark.parametrize("name", ["${x}", "\\${oc.env:HOME} ${ é ? # : '"])
def test_texts_are_stored_and_read_as_they_are(run, asked, name, capsys):
    put_settings(run, experiment=name, project_name=name)
    done = go_on(run, asked)
    assert done.settings.experiment == name
    stored = stored_settings(run, asked)
    assert (stored["experiment"], stored["project_name"]) == (name, name)
    assert checkpoint.load(run / CHECKPOINT)["config"]["experiment"] == name


@pytest.mark.parametrize("stray", [b"junk", None])
def test_a_new_run_does_not_go_on_from_a_stray_file(runs, tmp_path, stray):
    folder = tmp_path / "new"
    folder.mkdir()
    if stray is None:
        shutil.copy(runs / "finetune" / CHECKPOINT, folder)
    else:
        (folder / CHECKPOINT).write_bytes(stray)
    before = files(folder)
    settings = compose_settings(
        "finetune", "preset=debug", "device=cpu", "agent=diayn_dreamer", "task=pendulum_swingup", "action_repeat=10",
        "snapshot_ts=2000", f"custom_snap_dir={(runs / SNAPSHOT).parent}",
    )  # fmt: skip
    with pytest.raises(UserError, match=CHECKPOINT):
        launch(settings, folder, "finetune")
    assert files(folder) == before


def test_a_last_snapshot_that_cannot_be_read_does_not_take_the_run_along(runs, tmp_path):
    folder = shutil.copytree(runs / "finetune", tmp_path / "run")
    (folder / "finetuned_snapshot.pt").write_bytes(b"junk")
    launch(stored_settings(folder, compose_settings("finetune")), folder, "finetune", resume=True)
    assert checkpoint.load(folder / "finetuned_snapshot.pt", "snapshot")["frame"] == 2000
    assert b"junk" in [path.read_bytes() for path in folder.glob("*finetuned_snapshot.pt")]
