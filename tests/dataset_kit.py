"""Small data sets in ExORL's published format, made of random numbers or collected with random actions."""

from pathlib import Path

import numpy as np

from envs.make import PRIMAL_TASKS, body, make
from replay.exorl import write_episode


def noise(domain: str, length: int, draw: np.random.Generator, columns: int = 1) -> dict[str, np.ndarray]:
    """The arrays of one episode of the sizes of ``domain``, in ExORL's variant."""
    sizes, rows = body(PRIMAL_TASKS[domain], exorl=True), length + 1
    arrays = {
        "observation": draw.standard_normal((rows, sizes.observed)).astype(np.float32),
        "action": draw.uniform(-1, 1, (rows, sizes.actions)).astype(np.float32),
        "reward": draw.uniform(0, 1, (rows, columns)).astype(np.float32),
        "discount": np.ones((rows, 1), np.float32),
        "physics": draw.standard_normal((rows, sizes.state)),
    }
    arrays["action"][0] = arrays["reward"][0] = 0
    return arrays


def exorl_noise(folder: Path, domain: str = "walker", episodes: int = 4, length: int = 30, columns: int = 1) -> Path:
    """``folder`` with so many episodes of random numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for index in range(episodes):
        write_episode(folder, index, noise(domain, length, draw, columns))
    return folder


def exorl_collected(folder: Path, task: str, episodes: int = 2, length: int = 20) -> Path:
    """``folder`` with beginnings of episodes of ``task`` under random actions, in ExORL's variant."""
    folder.mkdir(parents=True, exist_ok=True)
    env = make(task, obs_type="states", action_repeat=1, seed=0, exorl=True)
    draw = np.random.default_rng(0)
    for index in range(episodes):
        seen, info = env.reset()
        rows = [(seen["observation"], np.zeros(env.action_space.shape, np.float32), 0.0, info["physics"])]
        for _ in range(length):
            action = draw.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            seen, reward, _, _, info = env.step(action)
            rows.append((seen["observation"], action, reward, info["physics"]))
        observation, action, reward, physics = map(np.stack, zip(*rows, strict=True))
        write_episode(
            folder,
            index,
            {
                "observation": observation,
                "action": action,
                "reward": reward[:, None].astype(np.float32),
                "discount": np.ones((length + 1, 1), np.float32),
                "physics": physics,
            },
        )
    env.close()
    return folder
