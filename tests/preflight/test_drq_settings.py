"""The configuration of ``drq_train.py``: published names and values, and every bad value refused by name."""

import copy
from pathlib import Path

import pytest
from settings_kit import compose_settings

from entry.scripts import SCRIPTS
from entry.settings import settings_of
from preflight.forecast import forecast
from utils.config import configs_of, flatten, get
from utils.errors import UserError

PRESETS = sorted(path.stem for path in (configs_of("drq") / "preset").glob("*.yaml"))
NAN, INF, HUGE = float("nan"), float("inf"), 10**400

PUBLISHED = {
    "task": "cartpole_swingup",
    "action_repeat": 4,
    "num_train_steps": 1_000_000,
    "num_train_iters": 1,
    "num_seed_steps": 1000,
    "replay_buffer_capacity": 100_000,
    "seed": 1,
    "log_frequency_step": 10_000,
    "log_save_tb": True,
    "save_video": True,
    "image_pad": 4,
    "framestack": 3,
    "lr": 1e-3,
    "batch_size": 128,
    "discount": 0.99,
    "init_temperature": 0.1,
    "actor_update_frequency": 2,
    "critic_tau": 0.01,
    "critic_target_update_frequency": 2,
    "encoder_feature_dim": 50,
    "critic_hidden_dim": 1024,
    "critic_hidden_depth": 2,
    "actor_hidden_dim": 1024,
    "actor_hidden_depth": 2,
    "actor_log_std_min": -10,
    "actor_log_std_max": 2,
    "num_skills": 10,
    "skill_embedding_dim": 10,
    "diayn_intrinsic_reward_coeff": 1.0,
    "lr_discriminator": None,
    "discriminator_hidden_dim": 1024,
    "discriminator_hidden_depth": 2,
    # those of the original release, where the extension has others
    "render_size": 84,
}
"""Of the published program's flags (docs/agents/drq.md); how often to evaluate: see below."""

NAMES = set(flatten(compose_settings("drq")))
KEYS = {key for key in NAMES if not any(other.startswith(f"{key}.") for other in NAMES)}

# ---- what the keys mean, written down apart from the rules that are tested

FLAGS = {"init_actor", "init_critic", "skill_critic", "reference", "log_save_tb", "use_wandb", "save_video"}
FLAGS |= {"collect.async", "collect.workers", "replay.prefetch", "discrete", "project_skill", "exact_negatives"}
FLAGS |= {"knn_avg", "knn_self", "batch_statistics"}
COUNTS = {"action_repeat", "num_train_steps", "num_train_iters", "eval_frequency", "num_eval_episodes"}
COUNTS |= {
    "num_envs",
    "num_gpus",
    "log_frequency_step",
    "replay_buffer_capacity",
    "batch_size",
    "actor_update_frequency",
}
COUNTS |= {"critic_target_update_frequency", "framestack", "encoder_feature_dim", "encoder_channels"}
COUNTS |= {"skill_embedding_dim", "critic_hidden_dim", "actor_hidden_dim", "discriminator_hidden_dim"}
COUNTS |= {"critic_hidden_depth", "actor_hidden_depth", "discriminator_hidden_depth"}
COUNTS |= {"knn_k", "rnd_rep_dim", "rnd_cnn_depth"}
FROM_ZERO = {"num_seed_steps", "image_pad", "seed"}
FRACTIONS = {"discount", "critic_tau"}
POSITIVE = {"collect.timeout", "lr", "init_temperature", "lr_discriminator", "grad_clip", "cic_temp", "dual_lambda"}
NUMBERS = {"actor_log_std_min", "actor_log_std_max", "extrinsic_coeff", "diayn_intrinsic_reward_coeff", "knn_clip"}
TEXTS = {"resume", "task", "env", "snapshot", "snapshot_base_dir", "snapshot_dir", "project_name", "experiment"}
TEXTS |= {"snapshot_variant", "objective", "agent.name", "agent._target_", "env_factory"}
CHOICES = {"device", "render.quality", "discriminator_features", "reward_state", "on_nan", "progress"}
CHOICES |= {"compile", "replay.device", "replay.verify", "floor", "method", "constraint", "cic_particles", "knn_scale"}
SPECIAL = {"augmentation", "num_skills", "render_size", "checkpoint_every_minutes", "snapshots"}
SPECIAL |= {"dual_slack", "rnd_cnn_kernels"}
NULLABLE = {
    "resume",
    "env",
    "env_factory",
    "snapshot",
    "snapshot_dir",
    "extrinsic_coeff",
    "lr_discriminator",
    "grad_clip",
}
NULLABLE |= {
    "snapshot_variant",
    "objective",
    "collect.workers",
    "eval_frequency",
    "num_eval_episodes",
    "replay.prefetch",
    "replay.device",
}

NO_NUMBER = ["many", "", "1", [1], {"a": 1}, True, False, NAN, INF, -INF, HUGE]
WIDE = {"encoder_feature_dim": 2**16, "encoder_channels": 2**16, "skill_embedding_dim": 2**16}
WIDE |= {"rnd_rep_dim": 2**16, "rnd_cnn_depth": 2**16}
WIDE |= {f"{part}_hidden_dim": 2**16 for part in ("critic", "actor", "discriminator")}
WIDE |= {f"{part}_hidden_depth": 100 for part in ("critic", "actor", "discriminator")}
WIDE |= {"num_gpus": 64, "framestack": 100, "seed": 2**32 - 1, "image_pad": 64, "render_size": 1024, "num_skills": 1000}


def bad_values(key):
    """Values of wrong types and out of range."""
    over = [WIDE[key] + 1] if key in WIDE else [10**15 + 1]
    if key in FLAGS:
        wrong = [0, 1, "true", "", [True], NAN]
    elif key in COUNTS:
        wrong = [*NO_NUMBER, 1.5, 1e6, 0, -1, -(10**30), *over]
    elif key in FROM_ZERO:
        wrong = [*NO_NUMBER, 1.5, -1, *over]
    elif key in FRACTIONS:
        wrong = [*NO_NUMBER, -0.1, 1.01, 2]
    elif key in POSITIVE:
        wrong = [*NO_NUMBER, 0, 0.0, -1, -1e-9]
    elif key in NUMBERS:
        wrong = NO_NUMBER
    elif key in TEXTS:
        wrong = [3, 0.5, "", "  ", "???", ["walker"], {"a": "b"}, True, NAN]
    elif key in CHOICES:
        wrong = ["nothing", "", ["cpu"], {"a": 1}, 7, 0.5, NAN]
    else:
        wrong = {
            "augmentation": [3, True, "", [3], [["shift"]], {}, {"RandomErasing": 0.3}, "RandomErase", {"Resize": {}}],
            "num_skills": [*NO_NUMBER, 1, -1, 2.0, *over],
            "render_size": [*NO_NUMBER, 15, 0, -84, 84.0, *over],
            "checkpoint_every_minutes": [*NO_NUMBER, -1, -1e-9],
            "dual_slack": [*NO_NUMBER, -1, -1e-9],
            "rnd_cnn_kernels": ["4", 4, [], [0], [4.0], [True], [4] * 9, {"a": 1}],
            "snapshots": [100_000, "100000", True, {"a": 1}, [0], [-4], [1.5], ["100k"], [None], [[4]], [True]],
        }[key]
    return wrong if key in NULLABLE else [*wrong, None]


@pytest.fixture(scope="module")
def base():
    return compose_settings("drq")


def changed(base, changes):
    config = copy.deepcopy(base)
    for key, value in changes.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def check(config):
    return settings_of("drq", config)


def refusal(config):
    with pytest.raises(UserError) as caught:
        check(config)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def leaves(config):
    return {key for key in flatten(config) if not isinstance(get(config, key), dict)}


def test_published_names_and_values(base):
    assert {key: base[key] for key in PUBLISHED} == PUBLISHED
    assert compose_settings("drq", "preset=published") == base


def test_every_key_is_tested(base):
    kinds = [FLAGS, COUNTS, FROM_ZERO, FRACTIONS, POSITIVE, NUMBERS, TEXTS, CHOICES, SPECIAL]
    assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert set.union(*kinds) == leaves(base)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_bad_values_are_refused_by_name(base, key):
    for value in bad_values(key):
        assert f"{key}=" in refusal(changed(base, {key: value})), value


GOOD = {
    "augmentation": ["none", [], ["shift", "cutout"], ["shift", {"RandomErasing": {"p": 0.3, "scale": [0.1, 0.2]}}]],
    "num_skills": [0, 2, 1000],
    "render_size": [16, 64],
    "discount": [0, 1, 0.5],
    "critic_tau": [0, 1],
    "image_pad": [0],
    "num_seed_steps": [0],
    "seed": [0, 2**32 - 1],
    "snapshots": [[], [1], [500_000, 100]],
    "grad_clip": [None, 10, 0.5],
    "lr_discriminator": [3e-4, 1],
    "extrinsic_coeff": [0, -1, 0.5],
    "checkpoint_every_minutes": [0, 0.5],
    "device": ["cpu", "auto"],
    "framestack": [1, 4],
    "progress": ["auto", True, False],
    "reward_state": ["current"],
    "discriminator_features": ["critic"],
    "dual_slack": [0, 0.1],
    "knn_clip": [-1, 0],
    "constraint": ["mean"],
}


@pytest.mark.parametrize("key", sorted(GOOD))
def test_good_values_are_accepted(base, key):
    for value in GOOD[key]:
        assert getattr(check(changed(base, {key: value})), SCRIPTS["drq"].aliases.names.get(key, key)) == value


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_missing_key_is_named(base, key):
    config = copy.deepcopy(base)
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    del node[last]
    assert f"{key} is missing" in refusal(config)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"num_train_step": 10}, "Did you mean num_train_steps?"),
        ({"frame_stack": 3}, "Did you mean framestack?"),
        ({"batch_length": 50}, "there is no key batch_length"),
        ({"snapshot_ts": 100}, "there is no key snapshot_ts"),
        ({"num_train_frames": 100}, "there is no key num_train_frames"),
        ({"collect.asynch": True}, "Did you mean collect.async?"),
        ({"collect": True}, "collect=true is not allowed: it must be a section with the keys async, workers, timeout"),
        ({"render.qualty": "lite"}, "Did you mean render.quality?"),
        ({"render": "lite"}, "render=lite is not allowed: it must be a section with the keys quality"),
        ({"agent": None}, "agent=null is not allowed: it must be a section"),
        ({"image_size": 84}, "there is no key image_size"),
        ({"replay.capacity": 100_000}, "there is no key replay.capacity"),
        ({"domain": "walker"}, "there is no key domain"),
    ],
)
def test_keys_that_are_not_there(base, changes, answer):
    message = refusal(changed(base, changes))
    assert answer in message and f"{next(iter(changes))}=" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        # an episode of 1000 / 4 + 1 records, and the one that is being written
        ({"replay_buffer_capacity": 400}, "replay_buffer_capacity=400"),
        ({"replay_buffer_capacity": 23, "action_repeat": 1000}, "replay_buffer_capacity=23"),
        ({"replay_buffer_capacity": 1000, "action_repeat": 1}, "replay_buffer_capacity=1000"),
        ({"action_repeat": 3}, "action_repeat=3 does not divide"),
        ({"action_repeat": 2000}, "action_repeat=2000 does not divide"),
        ({"collect.async": True, "collect.workers": False}, "collect.async=true needs collect.workers=true"),
        ({"num_envs": 200}, "replay_buffer_capacity=100000"),
        ({"actor_log_std_min": 2}, "actor_log_std_min=2 is not below actor_log_std_max=2"),
        ({"actor_log_std_min": 3.5}, "actor_log_std_min=3.5 is not below actor_log_std_max=2"),
        ({"actor_log_std_max": -10.5}, "actor_log_std_min=-10 is not below actor_log_std_max=-10.5"),
        ({"task": "cartpole_swing"}, "task=cartpole_swing"),
        ({"task": "dmc_walker_fly"}, "task=walker_fly"),
        ({"env": "hoper_hop"}, "hoper_hop"),
        ({"task": "walker"}, "task=walker"),
        ({"reference": True, "skill_critic": 1}, "skill_critic=1"),
        ({"snapshot_base_dir": "/dev/null/x"}, "snapshot_dir=/dev/null/x"),
        ({"snapshot_dir": "/dev/null/x"}, "snapshot_dir=/dev/null/x"),
        ({"snapshot_dir": "a" * 300}, "snapshot_dir="),
        ({"agent._target_": "torch.nn.Linear"}, "agent._target_=torch.nn.Linear"),
        ({"agent._target_": "agents.drq.agent.DrQ"}, "agent._target_=agents.drq.agent.DrQ"),
        ({"agent.name": "a/b"}, "agent.name=a/b"),
        ({"num_gpus": 3}, "batch_size=128 is not a multiple of num_gpus=3. Use 126, 129"),
        ({"num_gpus": 2, "device": "cuda:1"}, "device=cuda:1"),
        ({"num_gpus": 2, "compile": "default"}, "compile=default"),
        ({"num_gpus": 2, "augmentation": ["shift", "cutout"]}, "augmentation=['shift', 'cutout']"),
    ],
)
def test_values_that_do_not_go_together(base, changes, named):
    message = refusal(changed(base, changes))
    assert named in message
    assert "replay.capacity" not in message and "image_size" not in message


def test_the_capacity_that_is_named_is_large_enough(base):
    message = refusal(changed(base, {"replay_buffer_capacity": 400}))
    wanted = int(message.partition("Set replay_buffer_capacity=")[2].split()[0].rstrip(".,"))
    assert check(changed(base, {"replay_buffer_capacity": wanted})).replay.capacity == wanted
    assert 2 * 251 - 1 <= wanted < 1000


METHODS = {"diayn": (10, True), "metra": (4, False), "cic": (64, False), "rnd": (0, False), "apt": (0, False)}
"""Skills, or their dimensions, and whether they are one-hot."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_has_defaults_that_pass(method, preset):
    config = check(compose_settings("drq", f"method={method}", f"preset={preset}"))
    dims, discrete = METHODS[method]
    assert (config.method, config.discrete, config.agent.name) == (method, discrete, f"drq_{method}")
    assert preset == "debug" or config.num_skills == dims
    assert (config.num_skills > 0) == (dims > 0)
    assert config.evaluation[1] == (1 if dims or preset == "debug" else 10)
    check(compose_settings("drq", "method=metra", "discrete=true"))


@pytest.mark.parametrize(
    ("words", "named", "fix"),
    [
        (["method=rnd", "num_skills=10"], ["num_skills=10", "method=rnd"], ["method=rnd"]),
        (["method=apt", "num_skills=2"], ["num_skills=2", "method=apt"], ["method=apt"]),
        (["method=metra", "num_skills=0"], ["num_skills=0", "method=metra"], ["method=diayn", "num_skills=0"]),
        (["method=cic", "num_skills=0"], ["num_skills=0", "method=cic"], ["method=cic"]),
        (["method=cic", "discrete=true"], ["discrete=true", "method=cic"], ["method=metra", "discrete=true"]),
        (["discrete=false"], ["discrete=false", "method=diayn"], ["method=metra", "discrete=false"]),
        (["method=metra", "reference=true"], ["reference=true", "method=metra"], ["method=metra"]),
        (["method=apt", "reward_state=current"], ["reward_state=current", "method=apt"], ["method=apt"]),
        (["method=rnd", "discriminator_features=critic"], ["discriminator_features=critic", "method=rnd"], []),
        (["method=apt", "knn_scale=variance"], ["knn_scale=variance", "method=apt"], ["method=apt", "knn_scale=none"]),
        (["method=apt", "knn_k=128"], ["knn_k=128", "127"], ["method=apt", "knn_k=127"]),
        (["method=cic", "batch_size=8"], ["knn_k=16", "7"], ["method=cic", "batch_size=8", "knn_k=7"]),
        (["method=cic", "batch_size=8", "knn_self=true"], ["knn_k=16", "8"],
         ["method=cic", "batch_size=8", "knn_self=true", "knn_k=8"]),
        (["method=rnd", "render_size=20"], ["rnd_cnn_kernels=[4, 4, 4, 4]", "20 px"],
         ["method=rnd", "render_size=20", "rnd_cnn_kernels=[4,4]"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_go_with_a_method(words, named, fix):
    message = refusal(compose_settings("drq", *words))
    assert all(one in message for one in named) and "agent." not in message
    assert all(word.rpartition("=")[2] in message for word in fix[-1:])
    check(compose_settings("drq", *fix))


def test_what_other_methods_read_hinders_none():
    check(compose_settings("drq", "num_skills=0", "discrete=false", "knn_k=5000", "render_size=16"))


def test_a_snapshot_folder_is_not_looked_at_when_none_is_written(base):
    check(changed(base, {"snapshot_dir": "/dev/null/x", "snapshots": []}))


def test_the_smallest_image_fits_the_convolutions(base):
    """16 -> 7 -> 5 -> 3 -> 1 pixels a side; the agent is built, without memory."""
    need = forecast(check(changed(base, {"render_size": 16})), "pretrain")
    assert 0 < need.state < forecast(check(base), "pretrain").state


@pytest.mark.parametrize(
    ("changes", "task", "domain"),
    [
        ({}, "cartpole_swingup", "cartpole"),
        ({"task": "dmc_walker_run"}, "walker_run", "walker"),
        ({"env": "dmc_cartpole_swingup", "task": "walker_run"}, "cartpole_swingup", "cartpole"),
        ({"task": "cup_catch"}, "ball_in_cup_catch", "ball_in_cup"),
        ({"task": "dmc_cup_catch"}, "ball_in_cup_catch", "ball_in_cup"),
        ({"env": "finger_spin"}, "finger_spin", "finger"),
    ],
)
def test_names_of_tasks(base, changes, task, domain):
    config = check(changed(base, changes))
    assert (config.task, config.domain, config.env) == (task, domain, None)
    assert Path(config.snapshot_dir).parts == ("pretrained_models", "pixels", domain, "drq_diayn", "1")


def test_the_schedule(base):
    wanted = {"action_repeat": 8, "num_train_steps": 7, "num_seed_steps": 3, "eval_frequency": 11}
    config = check(changed(base, wanted | {"log_frequency_step": 13, "num_train_iters": 5}))
    schedule = config.schedule
    assert (schedule.steps, schedule.seed_steps, schedule.update_every, schedule.updates_at_once) == (7, 3, 1, 5)
    assert (config.frames, schedule.evaluate_every, schedule.log_every) == (56, 88, 104)
    assert config.image_size == 84 and config.replay.capacity == 100_000


@pytest.mark.parametrize(
    ("num_skills", "changes", "expected"),
    [
        # the original release and the extension
        (0, {}, (5000, 10)),
        (10, {}, (100_000, 1)),
        (2, {"eval_frequency": 7}, (7, 1)),
        (2, {"num_eval_episodes": 3}, (100_000, 3)),
        (0, {"eval_frequency": 7, "num_eval_episodes": 3}, (7, 3)),
    ],
)
def test_how_often_to_evaluate(base, num_skills, changes, expected):
    config = check(changed(base, changes | {"num_skills": num_skills, "action_repeat": 4}))
    assert config.evaluation == expected
    assert config.schedule.evaluate_every == 4 * expected[0]
    # at step 0, at every multiple up to 1,000,000 steps, and the final model
    assert forecast(config, "pretrain").own_snapshots == 1 + 1_000_000 // expected[0] + 1


def test_a_chosen_snapshot_folder_is_kept(base):
    assert check(changed(base, {"snapshot_dir": "mine"})).snapshot_dir == "mine"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("num_skills", [0, 4])
def test_presets_pass(preset, num_skills):
    config = compose_settings("drq", f"preset={preset}", f"num_skills={num_skills}", "action_repeat=2")
    assert leaves(config) == KEYS
    checked = check(config)
    assert checked.agent.name == ("drq_diayn" if num_skills else "drq")


def test_the_published_command_line():
    line = "task=dmc_walker_run num_skills=10 num_train_steps=1000000 encoder_feature_dim=50 lr=3e-4"
    line += " lr_discriminator=3e-4 save_video=true log_save_tb=true action_repeat=2 framestack=3 num_eval_episodes=1"
    config = check(compose_settings("drq", *line.split()))
    assert (config.task, config.lr_discriminator, config.frames) == ("walker_run", 3e-4, 2_000_000)


REFERENCE = {"skill_critic": False, "discriminator_features": "critic", "reward_state": "current", "extrinsic_coeff": 1}


def test_reference_restores_the_published_form_and_what_is_asked_for_stands():
    config = compose_settings("drq", "reference=true")
    assert {key: config[key] for key in REFERENCE} == REFERENCE
    asked = compose_settings("drq", "reference=true", "skill_critic=true", "reward_state=next", "extrinsic_coeff=0")
    assert {key: asked[key] for key in REFERENCE} == REFERENCE | {
        "skill_critic": True,
        "reward_state": "next",
        "extrinsic_coeff": 0,
    }
