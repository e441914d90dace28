"""Every value is checked before anything is built, and every key has a rule."""

import pytest

from entry.settings import settings_of
from preflight.settings import schema_for
from training.settings import FinetuneKeys, PretrainKeys
from utils.config import CONFIGS, flatten
from utils.device import resolve_device
from utils.errors import UserError
from utils.settings import keys_of

BAD_VALUES = [
    ("num_train_frames", 0),
    ("num_train_frames", -10),
    ("num_train_frames", 1e6),
    ("num_train_frames", "many"),
    ("num_train_frames", None),
    ("num_train_frames", True),
    ("num_seed_frames", -2),
    ("train_every_actions", 0),
    ("train_every_actions", 5),
    ("log_every_frames", 7),
    ("eval_every_frames", 0),
    ("num_eval_episodes", -1),
    ("snapshots", 100000),
    ("snapshots", [0]),
    ("snapshots", [100001]),
    ("snapshots", ["100k"]),
    ("batch_size", 0),
    ("batch_size", 1.5),
    ("batch_length", 1),
    ("replay.capacity", -1),
    ("action_repeat", 0),
    ("image_size", 84),
    ("seed", -1),
    ("seed", 2**32),
    ("device", "gpu"),
    ("device", "cuda:x"),
    ("obs_type", "pixel"),
    ("render.quality", "medium"),
    ("rssm.deter", 0),
    ("rssm.stoch", -32),
    ("encoder.cnn_kernels", []),
    ("encoder.cnn_kernels", 4),
    ("model_opt.lr", 0),
    ("model_opt.lr", float("nan")),
    ("actor_opt.clip", -1),
    ("critic_opt.wd", 2),
    ("discount", 1.5),
    ("kl.balance", -0.1),
    ("actor.dist", "gauss"),
    ("actor_grad", "both"),
    ("clip_rewards", "clip"),
    ("precision", "16"),
    ("precision", 8),
    ("agent.grad_heads", ["encoder"]),
    ("agent.grad_heads", "decoder"),
    ("agent.reward_norm.momentum", -1),
    ("domain", "hoper"),
    ("task", "walker_fly"),
    ("task", "quadruped_run"),
    ("use_wandb", "yes"),
    ("seed_policy", "uniform"),
    ("checkpoint_every_minutes", -5),
    ("collect.async", "yes"),
    ("collect.workers", 2),
    ("collect.timeout", 0),
    ("replay.prefetch", "auto"),
    ("replay.device", "gpu"),
    ("replay.device", "cuda:"),
]


def check(config, script=None):
    return settings_of(script or ("finetune" if "snapshot_ts" in config else "pretrain"), config)


def put(config, key, value):
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    config[last] = value


AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
PRESETS = sorted(path.stem for path in (CONFIGS / "preset").glob("*.yaml"))


MAY_BE_ABSENT = {"agent.drives", "agent.method_opt", "agent.skill_actor_ent", "agent.skill_draw"}
MAY_BE_ABSENT.add("agent.train_before_choice")
MAY_BE_ABSENT |= {f"agent.method_opt.{key}" for key in ("lr", "eps", "clip", "wd")}
FINETUNING_ONLY = {"retain", *(f"retain.{key}" for key in ("actor_waits", "anchor", "anchor_updates"))}


@pytest.mark.parametrize(("script", "keys"), [("pretrain", PretrainKeys), ("finetune", FinetuneKeys)])
@pytest.mark.parametrize("agent", AGENTS)
def test_the_keys_of_a_schema_are_those_of_the_files(settings, script, keys, agent):
    config = settings(script, f"agent={agent}")
    schema = set(keys_of(schema_for(keys, config["agent"])))
    found = {key for key in flatten(config) if not key.startswith("agent.explor_rate.")}
    assert found - schema == set()
    assert schema - found - MAY_BE_ABSENT == (FINETUNING_ONLY if script == "pretrain" else set())


SD3_BAD_VALUES = [
    ("agent.skill_dim", 1),
    ("agent.update_skill_every_step", 0),
    ("agent.num_init_frames", -1),
    ("agent.skill_choice", "random"),
    ("agent.weight", 0),
    ("agent.explor_rate", -0.1),
    ("agent.explor_rate", {"walker": "high"}),
    ("agent.skill_conditioned_reward", 1),
    ("agent.log_density_floor", "none"),
    ("agent.beta", None),
    ("agent.num_modules", 0),
    ("agent.density_image_size", 48),
    ("agent.temperature", 0),
    ("agent.method_opt.lr", 0),
]


@pytest.mark.parametrize("key, value", SD3_BAD_VALUES)
def test_a_bad_value_of_sd3_is_named(settings, key, value):
    config = settings("pretrain", "agent=deviation_dreamer")
    put(config, key, value)
    with pytest.raises(UserError, match=f"^{key}=.*: "):
        check(config)


def test_explor_rate_is_one_number_or_a_table(settings):
    for value in (0, 0.5, {"walker": 0.1}):
        config = settings("pretrain", "agent=deviation_dreamer")
        put(config, "agent.explor_rate", value)
        check(config)


def test_a_choice_by_imagined_return_waits_for_the_reward_head(settings):
    wanted = ("agent=deviation_dreamer", "agent.skill_choice=imagination")
    with pytest.raises(UserError, match="agent.num_init_frames=4000 lies within num_seed_frames=4000"):
        check(settings("finetune", *wanted))
    check(settings("finetune", *wanted, "agent.num_init_frames=5000"))
    check(settings("pretrain", *wanted))


PLANNER_BAD_VALUES = [
    ("mpc", "yes"),
    ("planner.start_after", -1),
    ("planner.horizon", 1),
    ("planner.iterations", 0),
    ("planner.num_samples", 0),
    ("planner.num_elites", 0),
    ("planner.mixture_coef", 1.5),
    ("planner.temperature", -1),
    ("planner.momentum", 2),
    ("planner.min_std", 0),
    ("planner.use_value", 1),
]


@pytest.mark.parametrize("key, value", PLANNER_BAD_VALUES)
def test_a_bad_value_of_the_planner_is_named(settings, key, value):
    config = settings("finetune")
    put(config, key, value)
    with pytest.raises(UserError, match=f"^{key}=.*: "):
        check(config)


def test_planning_needs_a_task(settings):
    check(settings("finetune", "mpc=True"))
    with pytest.raises(UserError, match=r"mpc=true .*dreamer_finetune\.py"):
        check(settings("pretrain", "mpc=True"))


def test_the_planner_has_as_many_candidates_as_elites(settings):
    # 100 random sequences and int(0.05 * 100) = 5 of the policy
    wanted = ("planner.num_samples=100", "planner.mixture_coef=0.05")
    check(settings("finetune", "mpc=true", *wanted, "planner.num_elites=105"))
    with pytest.raises(UserError, match=r"planner\.num_elites=106 .*\b105\b"):
        check(settings("finetune", "mpc=true", *wanted, "planner.num_elites=106"))
    check(settings("finetune", *wanted, "planner.num_elites=106"))  # nothing is planned


@pytest.mark.parametrize("key, value", BAD_VALUES)
def test_a_bad_value_is_named(settings, key, value):
    config = settings("pretrain")
    put(config, key, value)
    with pytest.raises(UserError) as caught:
        check(config)
    assert f"{key}=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frame_counts_follow_the_action_repeat(settings):
    config = settings("pretrain", "action_repeat=4")
    with pytest.raises(UserError, match="train_every_actions=10 .*action_repeat=4.* 8, 12"):
        check(config)


@pytest.mark.parametrize("script", ["pretrain", "finetune"])
@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_combination_of_config_files_composes_and_is_allowed(settings, script, agent, preset):
    check(settings(script, f"agent={agent}", f"preset={preset}", "configs=dmc_pixels"))


def test_the_published_defaults(settings):
    config = settings("pretrain")
    published = {
        "seed": 1,
        "num_train_frames": 2_000_010,
        "num_seed_frames": 4000,
        "train_every_actions": 10,
        "log_every_frames": 1000,
        "eval_every_frames": 10_000,
        "num_eval_episodes": 10,
        "snapshots": [100_000, 500_000, 1_000_000, 2_000_000],
        "batch_size": 50,
        "batch_length": 50,
        "action_repeat": 2,
        "imag_horizon": 15,
        "discount": 0.99,
        "discount_lambda": 0.95,
        "precision": 16,
        "slow_target_update": 100,
        "rssm": {"deter": 200, "hidden": 200, "stoch": 32, "discrete": 32},
        "model_opt": {"lr": 3e-4, "eps": 1e-5, "clip": 100, "wd": 1e-6},
        "actor_opt": {"lr": 8e-5, "eps": 1e-5, "clip": 100, "wd": 1e-6},
        "snapshot_dir": "pretrained_models/pixels/walker/dreamer/1",
        "use_wandb": False,
        "evaluate": False,
    }
    assert {key: config[key] for key in published} == published
    assert check(config).task == "walker_stand"
    assert check(settings("pretrain", "domain=quadruped")).task == "quadruped_walk"
    finetune = check(settings("finetune", "task=quadruped_jump"))
    assert (finetune.num_train_frames, finetune.snapshot_ts, finetune.domain) == (100_010, 100_000, "quadruped")
    assert finetune.init_actor and not finetune.init_critic and finetune.evaluate
    assert finetune.agent.grad_heads == ["decoder", "reward"]
    assert finetune.agent.reward_norm.momentum == 1.0
    assert finetune.agent.actor_ent == 1e-4


def test_a_key_on_the_command_line_wins_over_the_preset(settings):
    assert settings("pretrain", "preset=debug", "num_seed_frames=2000")["num_seed_frames"] == 2000
    assert settings("pretrain", "num_seed_frames=2000", "preset=debug")["num_seed_frames"] == 2000


def test_agent_reference_restores_every_defect_at_once(settings):
    agent = settings("pretrain", "agent.reference=true")["agent"]
    assert agent["decoder_elu_output"] and agent["entropy_in_targets"]
    agent = settings("pretrain", "agent.entropy_in_targets=true")["agent"]
    assert agent["entropy_in_targets"] and not agent["decoder_elu_output"]


def test_reference_of_sd3(settings):
    agent = settings("pretrain", "agent=deviation_dreamer")["agent"]
    assert agent["skill_conditioned_reward"] and agent["deviation_floor"] == 0
    agent = settings("pretrain", "agent=deviation_dreamer", "agent.reference=true")["agent"]
    assert not agent["skill_conditioned_reward"] and agent["deviation_floor"] is None and agent["entropy_in_targets"]


@pytest.mark.parametrize("preset, pretrain, finetune", [("published", 0.1, 1e-4), ("small", 0.01, 3e-2)])
def test_the_entropy_weight_of_skills_is_that_of_pretraining(settings, preset, pretrain, finetune):
    wanted = ("agent=deviation_dreamer", f"preset={preset}")
    assert settings("pretrain", *wanted)["agent"]["actor_ent"] == pretrain
    assert settings("finetune", *wanted)["agent"]["actor_ent"] == finetune


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda: .*Use device=cpu"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


def test_a_snapshot_folder_that_cannot_be_written_is_refused_at_the_start(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="snapshot_dir=.*file "):
        check(settings("pretrain", f"snapshot_base_dir={tmp_path / 'file'}"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UserError, match="snapshot_dir=.*cannot be written to"):
        check(settings("pretrain", f"snapshot_base_dir={tmp_path / 'new'}"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_skill_options_are_for_agents_with_skills(settings):
    config = settings("pretrain", "agent=icm_dreamer")
    config["agent"]["skill_dim"] = 4
    with pytest.raises(UserError) as refused:
        check(config)
    assert "agent.skill_dim=4" in str(refused.value) and "agent=aps_dreamer, choreo, cic_dreamer" in str(refused.value)


@pytest.mark.parametrize("agent, key", [("icm_dreamer", "icm_scale"), ("diayn_dreamer", "skill_dim")])
def test_a_key_that_the_yaml_lacks_is_named(settings, agent, key):
    config = settings("pretrain", f"agent={agent}")
    del config["agent"][key]
    with pytest.raises(UserError) as refused:
        check(config)
    assert f"agent.{key}" in str(refused.value) and f"configs/agent/{agent}.yaml" in str(refused.value)


@pytest.mark.parametrize("agent", ["apt_dreamer", "aps_dreamer"])
def test_no_more_neighbours_than_there_are_particles(settings, agent):
    # (15 + 1) * 2 * 3 states, and no state is its own neighbour
    few = (f"agent={agent}", "imag_horizon=15", "batch_size=2", "batch_length=3")
    check(settings("pretrain", *few, "agent.knn_k=95"))
    with pytest.raises(UserError, match=r"agent\.knn_k=96 .*\b95\b"):
        check(settings("pretrain", *few, "agent.knn_k=96"))
    check(settings("pretrain", *few, "agent.knn_k=96", "agent.knn_self=true"))
    with pytest.raises(UserError, match=r"agent\.knn_k=97 .*\b96\b"):
        check(settings("pretrain", *few, "agent.knn_k=97", "agent.knn_self=true"))
