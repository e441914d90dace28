"""Several copies of one task behind Gymnasium's vector API, with exact save and restore."""

from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from envs.checks import check_positive
from envs.make import EnvSettings, make, prepare
from envs.workers import WorkerVectorEnv


def make_vector(
    task: str, num_envs: int, *, seed: int = 1, workers: bool = False, timeout: float = 60.0, **settings: Any
) -> VectorEnv:
    """``num_envs`` environments of ``task``, stepped one after the other in this process, or all at once in processes
    of their own (``workers``): the numbers are the same.

    They do not reset themselves: the loop resets those that ended with ``reset(options={"reset_mask": mask})``. The
    very first ``reset`` has to be of all of them. Environment i is seeded with ``env_seed(seed, i)``; plain
    ``reset()`` goes on with these seeds.

    Args:
        task, settings: as for ``envs.make.make``.
        num_envs: how many, n. Observations are uint8 (n, 3, image_size, image_size) or float32 (n, D).
        seed: in [0, 2**32).
        workers: one process per environment: see ``envs.workers``. A script that asks for it has to be guarded by
            ``if __name__ == "__main__":``, since the workers import it.
        timeout: with ``workers``, seconds that an environment may take for a step.

    Raises:
        UserError: a value is unknown or out of range, or nothing can render here. With ``workers`` also later, when
            one hangs, dies or raises (``envs.workers.WorkerFailure``).
    """
    wanted = EnvSettings(task, seed=seed, **settings)
    wanted.check()
    check_positive("num_envs", num_envs)
    if wanted.env_factory is None:
        prepare(wanted.obs_type)  # here, once, so that worker processes inherit the choice
    makers = [partial(make, task, seed=env_seed(seed, index), **settings) for index in range(num_envs)]
    if workers:
        return WorkerVectorEnv(makers, timeout)
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)


def env_seed(seed: int, index: int) -> int:
    """The seed, in [0, 2**32), of environment ``index``: runs with neighbouring seeds share no environment."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def get_states(venv: VectorEnv) -> list[dict[str, Any]]:
    """The states of all environments: one ``get_state()`` each."""
    return list(venv.get_attr("state"))  # type: ignore[attr-defined]


def set_states(venv: VectorEnv, states: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Takes all environments back to ``states``, and the vector environment's own buffers with them.

    Returns:
        The stacked observations, (n, ...). They are zeros for an environment whose episode was over: reset it next.

    Raises:
        ValueError: there are more or fewer states than environments, or one does not fit its environment.
    """
    if len(states) != venv.num_envs:
        raise ValueError(f"There are {len(states)} states for {venv.num_envs} environments; give one each.")
    venv.reset()  # forgets which episodes are over, in this process and in workers
    venv.set_attr("state", list(states))  # type: ignore[attr-defined]
    observations = list(venv.call("last_observation"))  # type: ignore[attr-defined]
    stacked = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    # A partial reset returns the other environments' observations from these buffers, which Gymnasium does not offer
    # to set.
    if isinstance(venv, SyncVectorEnv):
        venv._env_obs = observations
        _overwrite(venv._observations, stacked)
    elif isinstance(venv, AsyncVectorEnv):
        _overwrite(venv.observations, stacked)
    else:
        raise TypeError(f"Cannot restore the buffers of a {type(venv).__name__}.")
    return stacked


def _overwrite(buffers: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> None:
    for key, value in values.items():
        np.copyto(buffers[key], value)
