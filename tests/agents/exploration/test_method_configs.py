"""The configurations of the exploration methods: they compose in every script and preset, and bad values are named."""

import pytest
from agent_kit import composed
from settings_kit import typed

from agents.exploration.build import method_class, own_keys
from utils.errors import UserError

SCRIPTS = ("pretrain", "finetune")
PRESETS = ("published", "small", "quickstart", "debug")

OPTIMISER = {"method_opt": tuple({"lr": lr, "eps": 1e-5, "clip": 100, "wd": 1e-6} for lr in (3e-4, 6e-4, 6e-4, 3e-4))}
CHOICE = {"num_init_frames": (4000, 4000, 2000, 1000)}

# agent: {key of its YAML: its values in PRESETS}
VALUES = {
    "icm_dreamer": {"icm_hidden": (1536, 384, 384, 16), **OPTIMISER},
    "rnd_dreamer": {
        "rnd_cnn_depth": (48, 8, 8, 2), "rnd_hidden": (1536, 384, 384, 16), "rnd_rep_dim": (512, 128, 128, 8),
        **OPTIMISER,
    },
    "lbs_dreamer": {"lbs_layers": (4, 2, 2, 1), "lbs_units": (400, 128, 128, 16), **OPTIMISER},
    "plan2explore": {"ensemble_hidden": (1536, 384, 384, 16), **OPTIMISER},
    "apt_dreamer": {"knn_k": (12,) * 4},
    "diayn_dreamer": {"diayn_hidden": (1224, 256, 256, 16), "skill_dim": (50, 16, 5, 4), **CHOICE, **OPTIMISER},
    "aps_dreamer": {"aps_hidden": (1224, 256, 256, 16), "skill_dim": (5,) * 4, **CHOICE, **OPTIMISER},
    "metra_dreamer": {
        "phi_hidden": (1024, 256, 256, 16), "skill_dim": (4,) * 4, **CHOICE,
        "method_opt": tuple({"lr": lr, "eps": 1e-8, "clip": 1e9, "wd": 0.0} for lr in (1e-4, 6e-4, 6e-4, 1e-4)),
    },
    "cic_dreamer": {
        "cic_hidden": (1024, 256, 256, 16), "skill_dim": (64, 64, 64, 8), "knn_k": (16, 16, 16, 4), **CHOICE,
        "method_opt": tuple({"lr": lr, "eps": 1e-8, "clip": 100, "wd": 0.0} for lr in (1e-4, 6e-4, 6e-4, 1e-4)),
    },
    "choreo": {
        "skill_dim": (64, 64, 64, 4), "code_dim": (16, 16, 16, 4), "code_layers": (4, 2, 2, 1),
        "code_units": (400, 128, 128, 16), "resample_every": (200, 200, 200, 5), "lbs_layers": (4, 2, 2, 1),
        "lbs_units": (400, 128, 128, 16), "knn_k": (30,) * 4, **CHOICE, **OPTIMISER,
    },
}  # fmt: skip

# what the behaviour of pre-training uses, agent: (reward_norm.momentum, actor_ent in PRESETS)
PRETRAINED = {
    "icm_dreamer": (0.95, (0.0,) * 4),
    "rnd_dreamer": (1.0, (0.0,) * 4),
    "lbs_dreamer": (0.95, (0.0,) * 4),
    "plan2explore": (0.95, (0.0,) * 4),
    "apt_dreamer": (0.95, (0.0,) * 4),
    "diayn_dreamer": (0.95, (0.1, 0.01, 0.5, 0.1)),
    "aps_dreamer": (1.0, (0.0,) * 4),
    "cic_dreamer": (1.0, (0.0,) * 4),
    "metra_dreamer": (0.95, (0.1, 0.01, 0.01, 0.1)),
    "choreo": (0.95, (0.0,) * 4),
}
FINETUNED = (1.0, (1e-4, 0.03, 0.06, 1e-4))

# agent: overrides that are refused; the error names key and value as they are written here
REFUSED = {
    "icm_dreamer": ("icm_scale=0", "icm_hidden=0", "inverse_model=1", "first_reward=one", "method_opt.lr=0"),
    "rnd_dreamer": (
        "rnd_scale=-1", "rnd_rep_dim=0", "rnd_hidden=0", "rnd_cnn_depth=0.5", "rnd_cnn_kernels=4", "target_decay=2",
        "batch_statistics=yes",
    ),
    "lbs_dreamer": ("lbs_layers=0", "lbs_units=1.5", "method_opt.clip=0"),
    "plan2explore": ("ensemble_size=1", "ensemble_hidden=0", "count_first=0"),
    "apt_dreamer": ("knn_k=0", "knn_k=1.5", "knn_rms=no", "knn_avg=1", "knn_clip=x", "knn_self=0"),
    "diayn_dreamer": (
        "diayn_hidden=0", "diayn_scale=-1.0", "skill_dim=1", "skill_choice=best", "skill_choice=regression",
        "skill_draw=evenly",
    ),
    "aps_dreamer": (
        "aps_hidden=0", "ridge=0", "reversed_regression=no", "restore_features=1", "skill_dim=1", "knn_k=0",
        "knn_rms=no", "knn_avg=1", "knn_clip=x", "knn_self=2", "skill_choice=reward",
    ),
    "cic_dreamer": (
        "cic_hidden=0", "cic_temp=0", "project_skill=1", "exact_negatives=1", "cic_particles=pairs", "knn_scale=std",
        "knn_k=0", "knn_avg=1", "knn_clip=x", "knn_self=2", "skill_dim=1", "skill_choice=reward", "skill_draw=evenly",
    ),
    "metra_dreamer": (
        "phi_hidden=0", "phi_layers=0", "dual_lambda=0", "dual_slack=-1", "constraint=max", "discrete=1", "ridge=0",
        "skill_dim=1", "skill_choice=reward",
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("name", VALUES)
def test_composes(name, script, preset):
    agent, column = typed(script, f"agent={name}", f"preset={preset}").agent.plain(), PRESETS.index(preset)
    momentum, entropy = PRETRAINED[name] if script == "pretrain" else FINETUNED
    want = {"name": name, "actor_ent": entropy[column]}
    want |= {key: values[column] for key, values in VALUES[name].items()}
    assert {key: agent[key] for key in want} == want
    assert agent["reward_norm"]["momentum"] == momentum


@pytest.mark.parametrize("name, override", [(name, override) for name, row in REFUSED.items() for override in row])
def test_bad_values_are_named(name, override):
    with pytest.raises(UserError) as refused:
        typed("pretrain", f"agent={name}", f"agent.{override}")
    assert str(refused.value).startswith(f"agent.{override} is not allowed")


@pytest.mark.parametrize("name", REFUSED)
def test_every_key_of_a_method_has_a_value_that_is_refused(name):
    """Whoever adds a key adds a row above."""
    keys = own_keys(method_class(composed("pretrain", f"agent={name}")["agent"]["method"]))
    assert keys and keys.keys() <= {override.split("=")[0] for override in REFUSED[name]}
