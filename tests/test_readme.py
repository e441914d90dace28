"""Every command of README and docs exists and composes, every link leads somewhere, tables say what the code does."""

import functools
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import yaml
from dataset_kit import exorl_noise
from hydra import compose, initialize_config_dir
from run_kit import DEBUG
from snapshot_kit import made_by

from agents.drq.settings import Method, MethodKeys
from analysis import compare, evaluate, scorecard, videos
from analysis.rest_render import parser
from entry.cli import check_overrides
from entry.scripts import SCRIPTS as ENTRIES
from entry.settings import composed, settings_of
from entry.start import launch
from envs.make import PRIMAL_TASKS, TASKS
from envs.suite_tasks import SUITE_TASKS
from reporting import command as report
from studying.settings import HowKeys, StudyKeys
from utils.config import CONFIGS, configs_of, flatten, latest_run, to_plain
from utils.settings import fields_of, keys_of
from utils.words import parse_words

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
EXAMPLE = "autoencoder_dreamer"  # of docs/add_a_method.md, see test_docs_example.py
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = {entry.file: phase for phase, entry in ENTRIES.items()}
DRQ_PAGE = ROOT / "docs" / "agents" / "drq.md"


LOOKS = {"evaluate.py": evaluate.parser, "report.py": report.parser, "analysis.videos": videos.parser}
"""What looks at a snapshot, by what is typed."""

LEARNED = [*DEBUG, "num_train_updates=3", "snapshots=[2]"]
"""A few updates on a data set."""


def commands(page: Path) -> list[str]:
    """The lines of a page's ```bash and ```sh blocks, without comments and variables in front."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.split(" # ")[0].strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in lines if line]


def is_training(line: str) -> bool:
    """Whether a command is one of the scripts'."""
    words = line.split()
    return words[0] == "python" and words[1] in SCRIPTS


def hydra_commands() -> list[str]:
    found = dict.fromkeys(line for page in PAGES for line in commands(page) if is_training(line))
    examples = (f"agent={EXAMPLE}", "env_factory=")  # their pages have tests of their own
    return [line for line in found if not any(example in line for example in examples)]


def sweep(overrides: list[str]) -> list[list[str]]:
    """The jobs of a multirun, one of each value (not of each combination)."""
    choices = [override.partition("=")[::2] for override in overrides]
    values = [value.split(",") if not value.startswith("[") else [value] for _, value in choices]
    longest = max(map(len, values), default=1)
    return [
        [f"{key}={options[i % len(options)]}" for (key, _), options in zip(choices, values, strict=True)]
        for i in range(longest)
    ]


def provide(arguments: list[str], *words: str) -> list[str]:
    """The snapshots that a command names, made with ``words``."""
    named = [Path(argument.partition("=")[2]) for argument in arguments if argument.startswith("snapshot=")]
    for path in named:
        domain, agent = path.parts[2:4]
        made = [f"task={PRIMAL_TASKS[domain]}"] if agent.startswith("drq") else [f"domain={domain}", f"agent={agent}"]
        made_by(path, "drq" if agent.startswith("drq") else "pretrain", *words, *made)
    return [str(path) for path in named]


def test_readme_has_the_published_commands():
    lines = commands(README)
    for line in (
        "python dreamer_pretrain.py configs=dmc_pixels agent=dreamer domain=walker seed=1",
        "python dreamer_finetune.py configs=dmc_pixels agent=dreamer task=walker_stand snapshot_ts=2000000 seed=1",
    ):
        assert line in lines


def test_readme_leads_with_its_two_commands():
    assert commands(README)[:2] == ["make quickstart", "make test"]
    assert "make quickstart" in "\n".join(README.read_text(encoding="utf-8").splitlines()[:12])


@pytest.mark.parametrize("line", hydra_commands())
def test_every_command_composes_and_passes_the_checks(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, script, *arguments = shlex.split(line)
    provide(arguments, "preset=debug")
    assert (ROOT / script).is_file()
    flags = [argument for argument in arguments if argument.startswith("-")]
    assert not set(flags) - {"--multirun", "--cfg"}
    overrides = [argument for argument in arguments if "=" in argument]
    check_overrides(SCRIPTS[script], arguments)
    assert any("," in override for override in overrides) == ("--multirun" in flags)
    for job in sweep(overrides):
        with initialize_config_dir(str(configs_of(SCRIPTS[script])), version_base="1.3"):
            config = compose(SCRIPTS[script], job)
        settings_of(SCRIPTS[script], to_plain(config))


def test_commands_of_every_script_are_found():
    assert {line.split()[1] for line in hydra_commands()} == set(SCRIPTS)


PUBLISHED = re.findall(r"^\| \w+: `[^`]+` \| `([^`]+)` \|$", README.read_text(), re.MULTILINE)
"""What the README has for the commands of others."""


@pytest.mark.parametrize("line", PUBLISHED)
def test_what_stands_for_a_command_of_others_is_accepted(line):
    _, script, *words = line.replace("<timestamp>", "2026-01-01T00-00-00").split()
    if script == "rest_render.py":
        asked = parse_words(words, parser())
        assert (asked.env, asked.epoch, asked.skid) == ("HalfCheetah", 49, 9)
    else:
        settings_of(SCRIPTS[script], composed(SCRIPTS[script], words))


@pytest.mark.parametrize("line", list(dict.fromkeys(filter(is_training, [*commands(README), *PUBLISHED]))))
def test_every_readme_command_runs(line, tmp_path, monkeypatch, settings):
    """Word for word but for the size: a few frames of the debug preset, the first job of a sweep."""
    monkeypatch.chdir(tmp_path)
    _, script, *arguments = shlex.split(line)
    phase = SCRIPTS[script]
    if phase == "drq":
        job = [argument for argument in arguments if "=" in argument]
        small = [*DEBUG, "num_train_steps=130", "action_repeat=8", "num_seed_steps=120", "eval_frequency=1000"]
        few = ["num_eval_episodes=1", "batch_size=8", "save_video=false"]
        run = launch(settings(phase, *job, *small, *few), tmp_path / "run", phase)
        assert run.frame == 1040 and run.updates > 0
        return
    if phase == "rest":
        job = [argument for argument in arguments if "=" in argument]
        small = [*DEBUG, "epochs=1", "num_skills=2", "traj_len=20"]
        run = launch(settings(phase, *job, *small), tmp_path / "run", phase)
        assert run.agent.finished and (tmp_path / "rnd_models_single_run" / "run" / "0" / "1" / "1").is_dir()
        return
    if phase == "offline_train":
        [job, *_] = sweep([argument for argument in arguments if "=" in argument])
        data = f"dataset_dir={exorl_noise(tmp_path / 'data')}"
        run = launch(settings(phase, *job, *LEARNED, data), tmp_path / "run", phase)
        assert run.updates == 3 and [path.name for path in run.files] == ["snapshot_2.pt"]
        return
    offline = "from_offline=True" in arguments  # of data without action repeat
    repeat = f"action_repeat={1 if offline else 10 if 'jaco' in line else 20}"
    short = [*DEBUG, repeat, "num_train_frames=1020", "evaluate=false"]
    own = ["num_seed_frames=1000", "save_ft_model=false"] if phase == "finetune" else ["snapshots=[1000]"]
    small = [*short, *own]
    if "eval_goals=True" in line:  # a single evaluation, of one episode
        goal = ["task_id=0"] if "mw_reach" in line else []
        small = [*DEBUG, repeat, "num_train_frames=1020", "eval_every_frames=2000", "num_eval_episodes=1", *goal, *own]
    job = sweep([argument for argument in arguments if "=" in argument and not argument.startswith("resume=")])
    if "resume=latest" in arguments:
        half = settings(phase, *small)
        launch(half, tmp_path / "exp_local" / "day" / "run", phase)
        folder = latest_run().absolute()
        launch(half | {"num_train_frames": 1040}, folder, phase, resume=True)
        return
    config = composed(phase, [*job[0], *small]) if provide(job[0], *short) else settings(phase, *job[0], *small)
    if phase == "finetune" and config["snapshot_ts"]:
        checked = settings_of(phase, config)
        source = [f"agent={checked.agent.name}", f"domain={checked.domain}", f"seed={checked.seed}"]
        if offline:
            data = [f"dataset={checked.dataset}", f"collection_method={checked.collection_method}"]
            data += [f"dataset_dir={exorl_noise(tmp_path / 'data')}"]
            made = launch(settings("offline_train", *source, *data, *LEARNED), tmp_path / "before", "offline_train")
        else:
            before = settings("pretrain", *short, *source, "snapshots=[1000]")
            made = launch(before, tmp_path / "before", "pretrain")
        made = made.files[0]
        made.rename(made.with_name(f"snapshot_{config['snapshot_ts']}.pt"))
    run = launch(config, tmp_path / "run", phase)
    assert run.frame == 1020


def test_every_other_command_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for line in commands(page):
            program, *arguments = shlex.split(line)
            if program == "make":
                assert arguments[0] in targets, line
            elif program == "python" and arguments[0] == "-m":
                assert (ROOT / arguments[1].replace(".", "/")).with_suffix(".py").is_file(), line
            elif program == "python":
                assert (ROOT / arguments[0]).is_file(), line
            else:
                assert program == "tensorboard", line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_looks_at_snapshots_takes_its_words(page):
    for line in commands(page):
        name, *words = shlex.split(line.replace("python -m", "python"))[1:]
        if name in LOOKS:
            parse_words(words, LOOKS[name]())


def test_readme_names_every_agent_domain_task_and_preset():
    text = README.read_text(encoding="utf-8")
    for folder in ("agent", "preset", "drq/preset"):
        for path in (CONFIGS / folder).glob("*.yaml"):
            assert f"`{path.stem}`" in text, f"{folder}={path.stem}"
    for domain, tasks in TASKS.items():
        if domain in SUITE_TASKS:  # the rest of the suite has a page: tests/envs/test_suite_tasks.py
            continue
        row = "| " + " | ".join([f"`{domain}`", ", ".join(f"`{t}`" for t in tasks), f"`{PRIMAL_TASKS[domain]}`"]) + " |"
        assert row in text


def test_every_agent_has_a_page_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for path in (CONFIGS / "agent").glob("*.yaml"):
        assert f"(agents/{path.stem}.md)" in index


def test_the_index_lists_every_page():
    index = ROOT / "docs" / "index.md"
    pages = {p.relative_to(ROOT / "docs") for p in PAGES if p not in (README, index)}
    listed = set(re.findall(r"^\| \[\S+\]\((\S+)\)", index.read_text(encoding="utf-8"), re.MULTILINE))
    assert {str(p) for p in pages if p.parts[0] != "results"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_in_the_text_exist(page):
    """`key=value` in running text and tables, for every key that is not a template."""
    known = {"agent", "configs", "preset", "hydra/launcher", "hydra.run.dir", "hydra.sweep.dir", "hydra.job.chdir"}
    known |= {"agent.code"}
    known |= {"key", "weights_only", "skill_dim", "render_quality", "named"}  # any key; torch.load's; arguments of ours
    known |= {"MUJOCO_GL", "WANDB_MODE", "OMP_NUM_THREADS", "LP_NUM_THREADS"}
    known |= {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHON"}
    known |= {"study", *keys_of(StudyKeys), *keys_of(HowKeys)}
    tools = [*LOOKS.values(), compare.parser, scorecard.parser]
    known |= {action.dest for made in tools for action in made()._actions}
    known |= {"drq_preset", *drq_keys(), *rest_keys(), *dreamer_keys()}
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", prose):
        for key in re.findall(r"(?:^|\s)([A-Za-z_./]+)=(?!=)", span):
            assert key in known, f"{key} in `{span}`"


@functools.cache
def dreamer_keys() -> frozenset[str]:
    """Of all agents, in all scripts."""
    known: set[str] = set()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for phase in ("pretrain", "offline_train", "finetune"):
            for agent in (CONFIGS / "agent").glob("*.yaml"):
                known |= set(flatten(compose(phase, [f"agent={agent.stem}"])))
    return frozenset(known)


@functools.cache
def rest_keys() -> set[str]:
    return {*flatten(composed("rest", []))}


@functools.cache
def drq_keys() -> set[str]:
    with initialize_config_dir(str(configs_of("drq")), version_base="1.3"):
        return set(flatten(compose("drq")))


def table(page: Path, title: str) -> dict[str, list[str]]:
    """First cell -> the others, of the tables in the section ``title`` (without its subsections' titles)."""
    section = re.split(r"^#+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{title}\n")]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines[2:]}


# of the program whose command lines are to work: train.py of "DrQ: Data regularized Q with DIAYN Skill Discovery"
PUBLISHED_FLAGS = """
agent task action_repeat time_limit dmc_camera camera num_train_steps num_train_iters num_seed_steps
replay_buffer_capacity seed save_model eval_frequency num_eval_episodes log_frequency_step log_save_tb save_video device
render_size image_pad framestack lr batch_size discount init_temperature actor_update_frequency critic_tau
critic_target_update_frequency encoder_feature_dim critic_hidden_dim critic_hidden_depth actor_hidden_dim
actor_hidden_depth actor_log_std_min actor_log_std_max num_skills skill_embedding_dim diayn_intrinsic_reward_coeff
lr_discriminator discriminator_hidden_dim discriminator_hidden_depth
"""
WITHOUT_A_KEY = {"agent", "time_limit", "dmc_camera", "camera", "save_model"}


def test_every_published_flag_of_drq_has_its_key_or_a_reason():
    rows = table(DRQ_PAGE, "Published flags")
    flags = {re.sub(r"`--(\w+)`.*", r"\1", cell): cells for cell, cells in rows.items()}
    assert set(flags) == {*PUBLISHED_FLAGS.split(), "work_dir"}
    keys = drq_keys()
    for flag, (ours, remark) in flags.items():
        if flag in WITHOUT_A_KEY or flag == "work_dir":
            assert ours == "none" and remark, flag
        else:
            assert ours == f"`{flag}`" and flag in keys
        assert set(re.findall(r"`([a-z_]+)`", remark)) <= keys | {"dmc_", "true", "false"}


def test_every_key_of_drqs_table_exists_with_that_default():
    with initialize_config_dir(str(configs_of("drq")), version_base="1.3"):
        config = compose("drq")
    for cell, (defaults, _) in table(DRQ_PAGE, "Keys").items():
        names = re.findall(r"`(\w+)`", cell.partition(", and of")[0])
        values = defaults.split(", ")
        for name, value in zip(names, values if len(values) > 1 else values * len(names), strict=True):
            assert yaml.safe_load(value) == config[name] or float(value) == config[name], name


def test_every_key_of_drqs_methods_is_on_its_page():
    named = {name for cell in table(DRQ_PAGE, "Methods") for name in re.findall(r"`(\w+)`", cell)}
    assert set(fields_of(MethodKeys)) | {"method"} <= named <= drq_keys() | set(get_args(Method))


def test_every_column_and_metric_of_drq_is_on_its_page(settings, tmp_path):
    """Those of a short run: nothing is missing, and nothing else is in the table of metrics."""
    words = ("preset=debug", "device=cpu", "progress=false", "save_video=false", "num_train_steps=400")
    launch(settings("drq", *words, "num_skills=2"), tmp_path / "run", "drq")
    files = table(DRQ_PAGE, "What a run writes")
    metrics = {name for cell in table(DRQ_PAGE, "Metrics") for name in re.findall(r"`(\w+)`", cell)}
    written = set()
    for name in ("train.csv", "eval.csv", "episodes.csv"):
        named = set(re.findall(r"`([\w<>]+)`", files[f"`{name}`"][0]))
        header = (tmp_path / "run" / name).read_text().splitlines()[0].split(",")
        columns = {re.sub(r"^skill_\d+_", "skill_<k>_", column) for column in header}
        written |= columns
        assert columns - metrics == named, name
    assert metrics <= written


def test_drqs_preset_table_is_true(settings):
    rows = table(ROOT / "docs" / "configuration.md", "DrQ")
    for index, preset in enumerate(("published", "small", "debug")):
        values = settings("drq", f"preset={preset}")
        values["render.quality"] = values["render"]["quality"]
        for cell, cells in rows.items():
            names = re.findall(r"`([\w.]+)`", cell.partition(", of ")[0])
            expected = ["null" if values[name] is None else str(values[name]) for name in names]
            assert cells[index].split(", ") == expected, f"{cell}, preset={preset}"
        assert values["critic_hidden_dim"] == values["actor_hidden_dim"] == values["discriminator_hidden_dim"]


def test_the_preset_table_is_true(settings):
    rows = table(ROOT / "docs" / "configuration.md", "Groups")
    shown = {
        "`render.quality`": lambda s: s["render"]["quality"],
        "`batch_size` x `batch_length`": lambda s: f"{s['batch_size']} x {s['batch_length']}",
        "`rssm.deter`, latents": lambda s: f"{s['rssm']['deter']}, {s['rssm']['stoch']} x {s['rssm']['discrete']}",
        "`encoder.cnn_depth`": lambda s: str(s["encoder"]["cnn_depth"]),
        "`actor`, `critic`": lambda s: f"{s['actor']['layers']} x {s['actor']['units']}",
        "`imag_horizon`, `discount`": lambda s: f"{s['imag_horizon']}, {s['discount']}",
        "`train_every_actions` (frames)": lambda s: str(s["train_every_actions"]),
        "`action_repeat`": lambda s: str(s["action_repeat"]),
        "`actor.dist`": lambda s: s["actor"]["dist"],
        "`task_actor_ent`": lambda s: f"{s['task_actor_ent']:.0e}".replace("e-0", "e-"),
        "`num_seed_frames`": lambda s: str(s["num_seed_frames"]),
        "`eval_every_frames`, episodes": lambda s: f"{s['eval_every_frames']}, {s['num_eval_episodes']}",
        "evaluates in pre-training": lambda s: "yes" if s["evaluate"] else "no",
    }
    for index, preset in enumerate(("published", "small", "quickstart", "debug")):
        values = settings("pretrain", f"preset={preset}")
        for row, value in shown.items():
            assert rows[row][index] == value(values), f"{row}, preset={preset}"
        rates = [float(rate) for rate in rows["`model_opt.lr`, `actor_opt.lr`"][index].split(",")]
        assert rates == [values["model_opt"]["lr"], values["actor_opt"]["lr"]]


def test_the_keys_that_may_change_on_resume_are_all_named():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"is no change; besides,(.*?) may change", text, re.DOTALL)
    assert set(re.findall(r"`([\w.]+)`", sentence)) == set(ENTRIES["pretrain"].safe_on_resume)
    (sentence,) = re.findall(r"keys that\s+may change in a run of DrQ are (.*?)\.\n", text, re.DOTALL)
    assert set(re.findall(r"`([\w.]+)`", sentence)) == set(ENTRIES["drq"].safe_on_resume)
