"""What older versions wrote, brought to the present form where it is loaded."""

from collections.abc import Mapping
from typing import Any

DRQ_REFERENCE = {
    "skill_critic": False,
    "discriminator_features": "critic",
    "reward_state": "current",
    "extrinsic_coeff": 1.0,
}
"""What ``reference=true`` of DrQ meant while the agent saw to it, whatever else was asked for."""


DRQ_METHOD = {
    "method": "diayn",
    "discrete": True,
    "dual_lambda": 30.0,
    "dual_slack": 1e-3,
    "constraint": "sum",
    "cic_temp": 0.5,
    "project_skill": True,
    "exact_negatives": True,
    "cic_particles": "state",
    "knn_k": 16,
    "knn_scale": "mean",
    "knn_avg": True,
    "knn_clip": 5e-4,
    "knn_self": False,
    "rnd_rep_dim": 512,
    "rnd_cnn_depth": 32,
    "rnd_cnn_kernels": [4, 4, 4, 4],
    "batch_statistics": False,
}
"""There was no other method; what others read, nothing reads."""


THEN = ("pretrain", "finetune", "drq")
"""The scripts there were when environments of one's own came."""

MLP = {"mlp_layers": 4, "mlp_units": 400}
"""What encoder and decoder of images say of states, which they do not see; the published values."""


def current(content: dict[str, Any]) -> dict[str, Any]:
    """A snapshot or checkpoint as it would be written today.

    Up to snapshots of format 2 and checkpoints of format 3 what the agent does was not said beside the settings; up to
    formats 3 and 4 ``skill_choice`` had another meaning; up to formats 4 and 5 all agents of Dreamer's saw images; up
    to formats 5 and 6 states entered raw, floors were the suite's own, and DrQ had one augmentation; up to formats 6
    and 7 it had one method.
    """
    config = current_settings(content.get("config", {}))
    script = config.get("phase") or ("finetune" if "snapshot_ts" in config else "pretrain")
    phase = content.get("phase") or ("finetune" if script == "finetune" else "pretrain")
    return {**content, "phase": phase, "config": config}


def current_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The stored settings of a run, by the names and with the meaning they have today."""
    present = _with_factory(config)
    if isinstance(agent := present.get("agent"), Mapping) and agent.get("skill_choice") == "replay":
        present["agent"] = _with_choice(agent)
    for name in ("encoder", "decoder"):
        if isinstance(section := present.get(name), Mapping):
            present[name] = MLP | dict(section)
    if "render" in present:
        present.setdefault("floor", "default")  # the suite's own
    if "encoder" in present:
        present.setdefault("state_norm", "none")  # states entered raw
    if present.get("phase") == "drq":
        present = {"augmentation": "shift"} | DRQ_METHOD | present  # there was no other
    return present


def _with_choice(agent: Mapping[str, Any]) -> dict[str, Any]:
    """``skill_choice=replay`` was what the method made of replay; with DIAYN a key of its own told two forms apart."""
    broadcast = agent.get("broadcast_choice")
    meant = "regression" if "reversed_regression" in agent else "likelihood" if broadcast else "likelihood_paired"
    return {key: value for key, value in agent.items() if key != "broadcast_choice"} | {"skill_choice": meant}


def _with_factory(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from before there were environments of one's own lack ``env_factory``."""
    if "env_factory" in config or config.get("phase", "pretrain") not in THEN:
        return dict(config)
    meant = dict(config) | {"env_factory": None}
    if config.get("reference") is True and "skill_critic" in config:
        kept = config.get("extrinsic_coeff")
        meant |= DRQ_REFERENCE | ({} if kept is None else {"extrinsic_coeff": kept})
    return meant
