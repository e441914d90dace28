"""What an on-policy run will need of disk and memory: as :mod:`preflight.forecast`, without a replay."""

from pathlib import Path

from agents.agent import Phase
from agents.rest.rollout import Rollout
from agents.rest.schedule import Schedule
from preflight.forecast import HEADER_BYTES, Forecast, learner_device, size_of
from training.rest_parts import outline_rest_agent
from training.settings import RestKeys


def rollout_forecast(settings: RestKeys, phase: Phase) -> Forecast:
    """The needs of a run of ``rest_train.py``."""
    agent = outline_rest_agent(settings)
    rollout = Rollout.empty(settings.num_envs, settings.traj_len, agent.obs_dim, agent.action_dim, agent.device)
    schedule = agent.schedule
    state = size_of(agent.training_state())
    skill = size_of(agent.skill_state(0)) + HEADER_BYTES
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
        activations=2 * size_of(rollout) + agent.activation_bytes(settings.step_frames),
        on_gpu=learner_device(settings.device).type == "cuda",
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
