"""Configurations, small agents and batches for the tests of DrQ."""

import torch

from agents.drq.agent import DrQAgent
from agents.drq.settings import DrQSettings
from utils.settings import parse

PUBLISHED = {
    "agent": {"name": "drq_diayn", "_target_": "agents.drq.agent.DrQAgent"},
    "num_skills": 10, "skill_embedding_dim": 10, "framestack": 3, "augmentation": "shift", "image_pad": 4,
    "encoder_feature_dim": 50,
    "critic_hidden_dim": 1024, "critic_hidden_depth": 2, "actor_hidden_dim": 1024, "actor_hidden_depth": 2,
    "actor_log_std_min": -10.0, "actor_log_std_max": 2.0, "lr": 1e-3, "lr_discriminator": None,
    "discriminator_hidden_dim": 1024, "discriminator_hidden_depth": 2, "init_temperature": 0.1, "discount": 0.99,
    "critic_tau": 0.01, "actor_update_frequency": 2, "critic_target_update_frequency": 2, "extrinsic_coeff": None,
    "diayn_intrinsic_reward_coeff": 1.0, "skill_critic": True, "discriminator_features": "own",
    "reward_state": "next", "grad_clip": None, "encoder_channels": 32, "reference": False,
    "method": "diayn", "discrete": True, "dual_lambda": 30.0, "dual_slack": 1e-3, "constraint": "sum", "cic_temp": 0.5,
    "project_skill": True, "exact_negatives": True, "cic_particles": "state", "knn_k": 16, "knn_scale": "mean",
    "knn_avg": True, "knn_clip": 5e-4, "knn_self": False, "rnd_rep_dim": 512, "rnd_cnn_depth": 32,
    "rnd_cnn_kernels": [4, 4, 4, 4], "batch_statistics": False,
}  # fmt: skip

SMALL = PUBLISHED | {
    "num_skills": 3, "skill_embedding_dim": 2, "image_pad": 2, "encoder_feature_dim": 5, "critic_hidden_dim": 7,
    "actor_hidden_dim": 6, "discriminator_hidden_dim": 8, "encoder_channels": 4,
}  # fmt: skip

REFERENCE = {
    "reference": True, "skill_critic": False, "discriminator_features": "critic", "reward_state": "current",
    "extrinsic_coeff": 1.0,
}  # fmt: skip
"""What ``reference=true`` sets in the configuration."""

SIZE, ACTIONS, STACK, BATCH = 17, 2, 3, 4


def drq_settings(plain):
    """The section that the agent reads."""
    return parse(DrQSettings, plain)


def make_drq(seed=0, size=SIZE, spread=0.2, **changes):
    """A small agent whose biases and norms matter, too; the target differs from the critic."""
    torch.manual_seed(seed)
    agent = DrQAgent(drq_settings(SMALL | changes), (3, size, size), ACTIONS, phase="pretrain", device="cpu")
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(spread * torch.randn_like(p))
    return agent


def transitions(batch=BATCH, skills=3, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    found = {
        "observation": torch.randint(0, 256, (batch, STACK + 1, 3, size, size), generator=generator, dtype=torch.uint8),
        "action": torch.rand(batch, ACTIONS, generator=generator) * 2 - 1,
        "reward": torch.rand(batch, generator=generator) * 2,
        "is_terminal": torch.arange(batch) % 4 == 1,
        "is_last": torch.arange(batch) % 2 == 1,
    }
    if skills:
        index = torch.randint(skills, (batch,), generator=generator)
        found["skill"] = torch.nn.functional.one_hot(index, skills).float()
        found["skill_valid"] = torch.arange(batch) % 4 != 2
    return found
