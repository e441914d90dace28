"""What an on-policy run will need of disk and memory: as :mod:`preflight.forecast`, without a replay."""

from pathlib import Path

import torch

from agents.agent import Phase
from agents.rest.rollout import Rollout
from agents.rest.schedule import Schedule
from preflight.forecast import HEADER_BYTES, Forecast
from training.rest_parts import outline_rest_agent
from training.settings import RestKeys
from utils.nested import tensors_in


def rollout_forecast(settings: RestKeys, phase: Phase) -> Forecast:
    """The needs of a run of ``rest_train.py``."""
    agent = outline_rest_agent(settings)
    rollout = Rollout.empty(settings.num_envs, settings.traj_len, agent.obs_dim, agent.action_dim, agent.device)
    schedule, device = agent.schedule, settings.device
    state = _size(agent.training_state())
    skill = _size(agent.skill_state(0)) + HEADER_BYTES
    first, later = schedule.num_skills, schedule.num_skills if schedule.order == "together" else 1
    folders = kept_folders(settings, schedule)
    return Forecast(
        layout=None,
        replay=0,
        replay_files=0,
        checkpoint=state + HEADER_BYTES,
        snapshot=skill,
        marks=range(first + later * (folders - 1)),  # files of which no other folder has the same
        snapshot_dir=Path(settings.snapshot_base_dir).absolute(),
        own_snapshots=0,
        state=state,
        gradients=skill,
        activations=2 * _size(rollout) + agent.activation_bytes(settings.step_frames),
        on_gpu=device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()),
        growing=("num_envs", "traj_len"),
    )


def kept_folders(settings: RestKeys, schedule: Schedule) -> int:
    """How many folders of models a run writes, one for each turn of the cycles that are kept. Counted without going
    through the turns: there may be 10^15 cycles of them.
    """
    cycles = -(-schedule.cycles // settings.keep_every)
    if (schedule.cycles - 1) % settings.keep_every:
        cycles += 1  # the last one is always kept
    return cycles * schedule.num_skills - (1 if schedule.skipped else 0)


def _size(state: object) -> int:
    return sum(tensor.nbytes for tensor in tensors_in(state))
