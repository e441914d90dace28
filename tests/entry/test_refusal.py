"""What is refused comes with what to write instead, and that is accepted."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from entry.cli import check_overrides
from entry.launchers import PACKAGES
from entry.settings import settings_of, settled
from utils.advice import ROOT
from utils.errors import UserError


def refusal(script, words):
    with pytest.raises(UserError) as refused:
        settings_of(script, settled(check_overrides(script, words)))
    return str(refused.value)


@pytest.mark.parametrize(
    ("script", "words", "wrong", "instead"),
    [
        ("pretrain", ["seed=1,2"], "seed=1,2", ["--multirun", "seed=1,2"]),
        ("drq", ["preset=small,debug"], "preset=small,debug", ["--multirun", "preset=small,debug"]),
        ("pretrain", ["seed=range(1,3)"], "seed=range(1,3)", ["--multirun", "seed=range(1,3)"]),
        ("pretrain", ["project_name=a,b"], "project_name=a,b", ["project_name='a,b'"]),
        ("pretrain", ["snapshots=1000,2000"], "snapshots=1000,2000", ["snapshots=[1000,2000]"]),
        ("pretrain", ["+preset=debug"], "+preset=debug", ["preset=debug"]),
        ("pretrain", ["agent@other=icm_dreamer"], "agent@other=icm_dreamer", ["agent=icm_dreamer"]),
        ("pretrain", ["agent=dreemer"], "agent=dreemer", ["agent=dreamer"]),
        ("pretrain", ["hydra.run.dri=x"], "hydra.run.dri=x", None),
        ("pretrain", ["~seeed"], "~seeed", None),
        ("pretrain", ["~preset"], "~preset", None),
        (
            "pretrain",
            ["--multirun", "agent=deviation_dreamer,diayn_dreamer", "agent.skill_dim=4"],
            "agent.skill_dim=4",
            ["++agent.skill_dim=4"],
        ),
        ("pretrain", ["agent=deviation_dreamer", "domain=hopper"], "domain=hopper", ["+agent.explor_rate.hopper=0.01"]),
        ("pretrain", ["agent=deviation_dreamer", "domain=hopper"], "domain=hopper", ["agent.explor_rate=0.01"]),
        ("pretrain", ["task=quadruped_run"], "task=quadruped_run", ["domain=quadruped"]),
        ("pretrain", ["num_seed_frames=1001"], "num_seed_frames=1001", None),
        ("pretrain", ["collect.async=true", "collect.workers=false"], "collect.async=true", None),
    ],
    ids=str,
)
def test_what_is_written_instead_is_accepted(script, words, wrong, instead):
    said = refusal(script, words)
    assert wrong in said
    if instead is None:
        return
    for word in instead:
        assert word in said, said
    flags = [word for word in (*words, *instead) if word.startswith("-")]
    kept = [word for word in words if word != wrong and not word.startswith("-")]
    asked = [*dict.fromkeys(flags), *kept, *(word for word in instead if not word.startswith("-"))]
    settings_of(script, settled(check_overrides(script, asked)))


@pytest.mark.skipif(find_spec("hydra_plugins") is not None, reason="a launcher is installed")
def test_a_launcher_that_is_not_installed_names_the_extra(monkeypatch, tmp_path):
    (tmp_path / "cluster.yaml").write_text("defaults: [pretrain, override hydra/launcher: joblib, _self_]\n")
    monkeypatch.chdir(tmp_path)
    for words, missing in (
        (["--multirun", "hydra/launcher=submitit_slurm"], "hydra/launcher/submitit_slurm"),
        (["--multirun", "hydra/launcher=slurm"], "hydra/launcher/submitit_slurm"),
        (["--multirun", "hydra/launcher=ray_cluster"], "hydra/launcher/ray"),
        (["--multirun", "hydra/sweeper=optuna"], "hydra/sweeper/optuna"),
        (["--config-dir", ".", "--config-name", "cluster"], "hydra/launcher/joblib"),
    ):
        said, (package, extra) = refusal("pretrain", words), PACKAGES[missing]
        assert "=".join(missing.rsplit("/", 1)) in said and package in said
        place = Path(shlex.split(said.partition("pip install -e ")[2])[0].removesuffix(f"[{extra}]"))
        assert (place / "pyproject.toml").is_file()


def test_the_extras_bring_what_the_messages_name():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in {extra for _, extra in PACKAGES.values()}:
        lines = re.search(rf"^{extra} = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
        assert set(re.findall(r'"([\w-]+)', lines)) == {package for package, of in PACKAGES.values() if of == extra}


@pytest.mark.parametrize("key", ["resume", "snapshot_base_dir"])
@pytest.mark.parametrize("sweep", [[], ["--multirun"]], ids=["run", "sweep"])
def test_a_folder_whose_name_hydra_takes_for_a_key_is_named_with_the_way_out(key, sweep):
    """What the message says to write is taken, or refused for being no run."""
    with pytest.raises(UserError) as caught:
        settled(check_overrides("pretrain", [*sweep, f"{key}=a${{b}}"]))
    said = str(caught.value)
    assert said.startswith(f"{key}: ") and "'b'" in said and "\\${" in said and "\n" not in said
    written = f"{key}=a\\${{b}}"
    if key == "resume":
        with pytest.raises(UserError, match=re.escape("resume=a${b}")):
            check_overrides("pretrain", [*sweep, written])
    else:
        settled(check_overrides("pretrain", [*sweep, written]))
