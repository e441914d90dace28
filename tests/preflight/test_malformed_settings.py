"""Malformed configurations, hundreds of them from a fixed seed: each is refused by name before anything is built."""

import copy
import random
from typing import NamedTuple

import pytest
from malformed_kit import BASES, OFFLINE, SCRIPTS, Reached, bases, composed_once, misspelt_key, nothing_is_built

from entry.start import launch
from utils.config import CONFIGS, flatten, get
from utils.errors import UserError

__all__ = ["bases", "composed_once", "nothing_is_built"]  # fixtures

A_FILE = str(CONFIGS / "dreamer.yaml")

# ---- what the keys mean, written down apart from the rules that are tested

NULLABLE = {
    "resume",
    "env_factory",
    "snapshot_dir",
    "snapshot_variant",
    "objective",
    "custom_snap_dir",
    "snapshot",
    "agent.log_density_floor",
    "agent.deviation_floor",
}
NULLABLE |= {"collect.workers", "replay.prefetch", "replay.device", "agent.first_reward", "agent.method_opt"}
NULLABLE |= {"retain", "goal_seed", "task_id", "dataset", "collection_method", "relabel_task", "agent.drives"}
CHOICES = {
    "obs_type",
    "state_norm",
    "image_size",
    "render.quality",
    "seed_policy",
    "clip_rewards",
    "actor.dist",
    "actor_grad",
}
CHOICES |= {"goal_mode", "precision", "progress", "device", "agent.skill_choice", "agent.density_image_size"}
CHOICES |= {"on_nan", "floor"}
CHOICES |= {"replay.device", "replay.verify", "agent.constraint", "agent.cic_particles", "agent.knn_scale"}
FROM_ZERO = {
    "retain.actor_waits",
    "seed",
    "num_seed_frames",
    "snapshot_ts",
    "planner.start_after",
    "agent.num_init_frames",
}
FROM_TWO = {"batch_length", "imag_horizon", "planner.horizon", "agent.skill_dim", "agent.ensemble_size"}
WIDTHS = {"deter", "hidden", "stoch", "discrete", "cnn_depth", "units", "layers", "skill_dim", "ensemble_size"}
WIDTHS |= {"latent_dim", "num_modules", "num_layers", "density_cnn_depth", "rnd_cnn_depth", "rnd_rep_dim"}
FRACTIONS = {"balance", "discount", "discount_lambda", "slow_target_fraction", "mixture_coef", "momentum", "wd"}
FRACTIONS |= {"target_decay", "agent.code_decay"}
POSITIVE = {"collect.timeout", "lr", "eps", "clip", "min_std", "scale", "ridge", "weight", "agent.temperature"}
POSITIVE |= {"agent.cic_temp", "agent.dual_lambda", "agent.icm_scale", "agent.rnd_scale", "agent.diayn_scale"}
ANY_NUMBER = {"agent.knn_clip", "agent.log_density_floor", "agent.deviation_floor", "agent.first_reward"}
NOT_NEGATIVE = {"actor_ent", "task_actor_ent", "skill_actor_ent", "free", "kl", "observation", "reward", "beta"}
NOT_NEGATIVE |= {
    "agent.commitment",
    "agent.dual_slack",
    "retain.anchor",
    "planner.temperature",
    "agent.explor_rate",
    "checkpoint_every_minutes",
}
NUMBERS = FRACTIONS | POSITIVE | ANY_NUMBER | NOT_NEGATIVE
SECTIONS = {"replay", "render", "rssm", "encoder", "decoder", "reward_head", "kl", "loss_scales", "actor", "critic"}
SECTIONS |= {"collect", "planner", "model_opt", "actor_opt", "critic_opt", "agent.reward_norm", "agent.method_opt"}
SECTIONS |= {"retain", "agent.skill_reward_norm"}

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
NOT_NUMBERS = ["many", "", "1", [1], [], {"a": 1}, True, False, NAN, INF, -INF, HUGE]


def has(names, key):
    return key in names or key.rpartition(".")[2] in names


def wrong_types(key, value):
    """Values of another type than ``key`` takes; ``value`` is its default."""
    if key in CHOICES:
        wrong = ["nothing", "", [value], {"a": 1}, 7, 0.5, NAN, 10**30]
    elif key in SECTIONS:
        wrong = [3, 0.5, "text", "", True, False, [1], []]
    elif has(NUMBERS, key):
        wrong = NOT_NUMBERS if key != "agent.explor_rate" else ["many", [1], {"walker": "a"}, {}, True, NAN, INF]
    elif isinstance(value, bool):
        wrong = [0, 1, 1.0, "yes", "true", "", [True], {"a": True}, NAN]
    elif key in ("collect.workers", "replay.prefetch"):  # null, unless it is said
        wrong = [0, 1, 2, "auto", "true", "", [True], {"a": True}, NAN]
    elif isinstance(value, int):
        wrong = [*NOT_NUMBERS, 1.5, 1e6, -1.0, 10**30, -(10**30)]
    elif isinstance(value, list):
        wrong = [4, "decoder", "", True, {"a": 1}, [[]], [None], [NAN], [1.5], [True], ["encoder"], [-1], [0], [10**30]]
    else:
        wrong = [3, 0.5, "", "???", ["walker"], {"a": "b"}, True, False, NAN]
    return wrong if key in NULLABLE else [*wrong, None]


def wrong_ranges(key, value):
    """Values of the right type, out of range."""
    if key in CHOICES or key in SECTIONS or has(ANY_NUMBER, key):
        return []
    if has(FRACTIONS, key):
        return [-0.1, -1e-9, 1.01, 2, 1e6, -1]
    if has(POSITIVE, key):
        return [0, 0.0, -1, -1e-9, -1e6]
    if has(NOT_NEGATIVE, key):
        return [-1, -1e-9, -1e6]
    if isinstance(value, int) and not isinstance(value, bool):
        low = 0 if key in FROM_ZERO else 2 if key in FROM_TWO else 1
        high = [2**32, 10**15] if key == "seed" else [10**15 + 1]
        return [low - 1, -1, -100, *high, *([10**6] if has(WIDTHS, key) else [])]
    if key.endswith("cnn_kernels"):
        return [[], [0], [4, -4], [4] * 9, [1000]]
    return [[0], [-2], [100_000, 0]] if key == "snapshots" else []


class Case(NamedTuple):
    """One malformed configuration: a base, what is changed in its plain form, and what the message must name."""

    script: str
    agent: str
    changes: tuple[tuple[str, object], ...]
    named: str

    def __str__(self):
        changes = ", ".join(f"{key}={'<huge>' if value == HUGE else value!r}" for key, value in self.changes)
        return f"{self.script} agent={self.agent}: {changes}"


REMOVED = object()


def changed(plain, changes):
    """A copy of ``plain`` with the ``changes`` made."""
    config = copy.deepcopy(plain)
    for key, value in changes:
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return config


def complaint(bases, case, tmp_path):
    """What is wrong with how ``case`` is refused; None when nothing is."""
    config = changed(bases[case.script, case.agent], case.changes)
    try:
        launch(config, tmp_path / "work" / "run", case.script)
    except UserError as error:
        message = str(error)
        if case.named not in message or "\n" in message or len(message) > 700:
            return f"{case}: {message}"
    except Reached:
        return f"{case}: is built"
    except Exception as error:
        return f"{case}: {type(error).__name__}: {str(error)[:200]}"
    return None


def all_refused(bases, cases, tmp_path, least):
    assert len({repr(case) for case in cases}) >= least
    found = [text for case in cases if (text := complaint(bases, case, tmp_path))]
    assert found == [], f"{len(found)} of {len(cases)}"


@pytest.mark.parametrize(("script", "agent"), BASES)
def test_what_is_not_mutated_is_built(bases, script, agent, tmp_path):
    with pytest.raises(Reached):
        launch(copy.deepcopy(bases[script, agent]), tmp_path / "work" / "run", script)


@pytest.mark.parametrize("wrong", [wrong_types, wrong_ranges])
def test_wrong_types_and_ranges(bases, tmp_path, wrong):
    draw = random.Random(1)
    cases = []
    for script, agent in [*BASES, OFFLINE]:
        plain = bases[script, agent]
        for key in flatten(plain):
            value = get(plain, key)
            if key == "agent" or key.startswith("agent.explor_rate.") or key in ("agent.name", "snapshot_dir"):
                continue
            if isinstance(value, dict) and key not in SECTIONS and key != "agent.explor_rate":
                raise AssertionError(f"SECTIONS lacks {key}")
            values = wrong(key, value)
            if script == OFFLINE[0] and key.endswith("cnn_kernels"):
                values = [x for x in values if x != [1000]]  # that is too large for an image, and there is none
            if values:
                named = "cnn_kernels" if key.endswith("cnn_kernels") else f"{key}="
                cases.append(Case(script, agent, ((key, draw.choice(values)),), named))
    all_refused(bases, cases, tmp_path, 1000)


def test_keys_that_are_not_there_or_not_known(bases, tmp_path):
    draw = random.Random(2)
    cases = []
    for script, agent in [*BASES, OFFLINE]:
        plain = bases[script, agent]
        keys = [key for key in flatten(plain) if key != "agent"]
        needed = [key for key in keys if key not in MAY_BE_ABSENT and not key.startswith("agent.explor_rate.")]
        for key in draw.sample(needed, 12):
            cases.append(Case(script, agent, ((key, REMOVED),), key.rpartition(".")[2]))
        for _ in range(12):
            wrong, _ = misspelt_key(draw, [key for key in keys if key.rpartition(".")[0] in ("", "agent", "planner")])
            if wrong.rpartition(".")[0] in ("", "agent", "planner"):
                cases.append(Case(script, agent, ((wrong, 3),), f"{wrong}="))
    all_refused(bases, cases, tmp_path, 300)


MAY_BE_ABSENT = {"agent.method_opt", "agent.skill_actor_ent", "agent.skill_draw", "agent.train_before_choice"}
MAY_BE_ABSENT |= {f"agent.method_opt.{key}" for key in ("eps", "clip", "wd")} | {"retain"}
MAY_BE_ABSENT |= {"agent.drives", "goal_seed", "task_id", "eval_goals", "goal_mode", "dataset"}


WITH_SKILLS = ("aps_dreamer", "cic_dreamer", "deviation_dreamer", "diayn_dreamer", "metra_dreamer")


def combinations():
    """(script, agent, changes, what is named): values that are allowed one by one, but not together."""
    for script, agent in BASES:
        yield script, agent, {"batch_length": 502}, "batch_length=502"
        yield script, agent, {"num_envs": 4, "replay.capacity": 2399}, "replay.capacity=2399"
        yield script, agent, {"num_envs": 2000}, "replay.capacity=1000000"
        yield script, agent, {"collect.async": True, "collect.workers": False}, "collect.async=true"
        yield script, agent, {"replay.capacity": 1001}, "replay.capacity=1001"
        yield script, agent, {"action_repeat": 3}, "action_repeat=3"
        yield script, agent, {"action_repeat": 4}, "action_repeat=4"
        yield script, agent, {"encoder.cnn_kernels": [4, 4, 4, 4, 4]}, "encoder.cnn_kernels"
        yield script, agent, {"decoder.cnn_kernels": [5, 5, 6]}, "decoder.cnn_kernels"
        yield script, agent, {"agent._target_": "agents.dreamer.agent.Dreamer"}, "agent._target_"
        yield script, agent, {"agent._target_": "torch.nn.Linear"}, "agent._target_"
        yield script, agent, {"agent._target_": "agents.dreamer.agent"}, "agent._target_"
        yield script, agent, {"agent.method": "agents.exploration.icm"}, "agent.method"
        yield script, agent, {"agent.method": "agents.nn.networks.MLP"}, "agent.method"
        yield script, agent, {"device": "cuda"}, "device=cuda"
        for key in ("num_seed_frames", "log_every_frames", "eval_every_frames", "recon_every_frames"):
            yield script, agent, {key: 1001}, f"{key}=1001"
        yield script, agent, {"snapshots": [100_001]}, "snapshots=100001"
        yield script, agent, {"snapshots": [10], "snapshot_dir": "a" * 300}, "snapshot_dir="
        yield script, agent, {"snapshots": [10], "snapshot_dir": "/dev/null/x"}, "snapshot_dir=/dev/null/x"
        if agent not in ("choreo", *WITH_SKILLS):
            yield script, agent, {"agent.skill_dim": 4}, "agent.skill_dim=4"
        if agent not in WITH_SKILLS:
            yield script, agent, {"agent.skill_choice": "reward"}, "agent.skill_choice=reward"
        elif script == "finetune":
            yield script, agent, {"agent.skill_choice": "imagination"}, "agent.skill_choice=imagination"
        if agent != "rnd_dreamer":
            yield script, agent, {"agent.rnd_scale": 1.0}, "agent.rnd_scale=1.0"
            yield script, agent, {"agent.method": "agents.exploration.rnd.RND"}, "rnd_scale"
        if script == "pretrain":
            yield script, agent, {"mpc": True}, "mpc=true"
            tied = {"actor_waits": 0, "anchor": 1.0, "anchor_updates": 100}
            yield script, agent, {"retain": tied}, "retain"
            yield script, agent, {"task": "quadruped_run"}, "task=quadruped_run"
            yield script, agent, {"domain": "jaco", "batch_length": 127}, "batch_length=127"
        else:
            yield script, agent, {"mpc": True, "planner.num_elites": 538}, "planner.num_elites=538"
            yield script, agent, {"custom_snap_dir": A_FILE}, f"custom_snap_dir={A_FILE}"
            yield script, agent, {"task": "none"}, "task=none"
            if agent == "choreo":
                yield script, agent, {"snapshot_ts": 0}, "snapshot_ts=0"
            yield script, agent, {"domain": "jaco"}, "task=walker_stand"
    for script in SCRIPTS:
        for agent in ("apt_dreamer", "aps_dreamer"):
            yield script, agent, {"agent.knn_k": 40_000}, "agent.knn_k=40000"
        yield script, "choreo", {"agent.knn_k": 40_001}, "agent.knn_k=40001"  # a state counts as its own neighbour
        yield script, "rnd_dreamer", {"agent.rnd_cnn_kernels": [4, 4, 4, 4, 4]}, "agent.rnd_cnn_kernels"
        yield script, "deviation_dreamer", {"agent.explor_rate": {"jaco": 0.1}}, "agent.explor_rate"


def test_values_that_do_not_go_together(bases, tmp_path):
    cases = [Case(script, agent, tuple(changes.items()), named) for script, agent, changes, named in combinations()]
    all_refused(bases, cases, tmp_path, 400)
