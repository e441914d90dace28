"""``configs/sweeps/``: what a wandb agent makes of each file is a command line that the script takes."""

import copy
from pathlib import Path

import pytest
import yaml
from settings_kit import typed
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from entry.cli import check_overrides
from entry.scripts import SCRIPTS
from utils.config import CONFIGS
from utils.errors import UserError

FILES = sorted((CONFIGS / "sweeps").glob("*.yaml"))
PAGE = CONFIGS.parent / "docs" / "sweeps.md"
PHASES = {script.file: phase for phase, script in SCRIPTS.items()}


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def job(sweep: dict, which: int) -> dict:
    """The values of the first (0) or last (-1) job, as the server sends them."""
    chosen = {}
    for key, parameter in sweep["parameters"].items():
        bounds = [parameter[end] for end in ("min", "max") if end in parameter]
        values = parameter.get("values") or bounds or [parameter["value"]]
        chosen[key] = {"value": values[which]}
    return chosen


def command(sweep: dict, values: dict) -> list[str]:
    """The words that the agent starts, put together from the pieces that it puts together."""
    pieces = create_sweep_command_args({"args": values}) | {"program": [sweep["program"]], "env": ["/usr/bin/env"]}
    words = []
    for part in create_sweep_command(copy.deepcopy(sweep["command"])):
        words += pieces[part[2:-1]] if part.startswith("${") and part.endswith("}") else [part]
    return words


def test_there_are_a_grid_a_random_search_and_one_over_tasks():
    assert {path.stem: read(path)["method"] for path in FILES} == {
        "pretrain_grid": "grid",
        "finetune_random": "random",
        "finetune_tasks": "grid",
    }


@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_of_an_agent_passes_the_checks(path, which):
    sweep = read(path)
    values = job(sweep, which)
    env, python, program, *overrides = command(sweep, values)
    assert (env, python, program) == ("/usr/bin/env", "python", sweep["program"])
    settings = typed(PHASES[program], *overrides)
    assert settings.use_wandb and settings.agent.name == values["agent"]["value"]
    assert settings.seed == values["seed"]["value"]
    assert sweep["project"] == f"{settings.project_name}_{PHASES[program]}"
    if path.stem == "finetune_random":
        assert settings.plain()["actor_opt"]["lr"] == values["actor_opt.lr"]["value"]
    prefix, _, column = sweep["metric"]["name"].partition("/")
    assert column in SCRIPTS[PHASES[program]].layout.columns[prefix], "a row of every run has it"
    assert prefix == "train" or settings.evaluate


def test_a_parameter_that_no_script_has_is_refused():
    sweep = read(FILES[0])
    values = job(sweep, 0) | {"num_skils": {"value": 3}}
    with pytest.raises(UserError, match="num_skils"):
        check_overrides(PHASES[sweep["program"]], command(sweep, values)[3:])


def test_a_folder_of_snapshots_for_every_job(monkeypatch):
    """As docs/sweeps.md has it."""
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("command: ")]
    monkeypatch.setenv("WANDB_RUN_ID", "x1")
    sweep = read(CONFIGS / "sweeps" / "pretrain_grid.yaml") | yaml.safe_load(line)
    settings = typed("pretrain", *command(sweep, job(sweep, 0))[3:])
    assert settings.snapshot_dir == "pretrained_models/pixels/walker/deviation_dreamer/1/x1"
