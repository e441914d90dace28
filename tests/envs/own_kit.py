"""Small environments of plain NumPy, which keep the contract or break it in one place, and their factories."""

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.replayed import ReplayedEnv

LONGEST = 12


class Drift(gymnasium.Env):
    """A point that is pushed about and shaken; native actions in [0, 10], states float64. ``longest``: episode length
    that it keeps itself, None for without end.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def __init__(self, longest=LONGEST, physics=False):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(0.0, 10.0, (2,), np.float64)
        self.longest, self.physics, self.drawn = longest, physics, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.normal(size=2), 0
        return self.place.copy(), self.info()

    def step(self, action):
        assert action.dtype == np.float64 and (action >= 0).all() and (action <= 10).all()
        self.steps += 1
        self.place = self.place + 0.01 * action + 0.001 * self.np_random.normal(size=2)
        return self.place.copy(), float(self.place.sum()), False, self.steps == self.longest, self.info()

    def render(self):
        self.drawn += 1
        codes = (np.abs(self.place) * 1e6).astype(int) % 256
        return np.broadcast_to(np.array([*codes, self.steps], np.uint8), (40, 60, 3)).copy()

    def info(self):
        return {"physics": self.place.copy(), "noise": "not read"} if self.physics else {"noise": "not read"}


class Pixels(gymnasium.Env):
    """Keeps the contract by itself, but for save and restore; ``fault`` names where it does not."""

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    max_episode_steps = LONGEST

    def __init__(self, fault="", size=16, seed=0):
        self.fault, self.size, self.seed = fault, size, seed
        image = spaces.Box(0, 255, (3, size, size), np.float32 if fault == "dtype" else np.uint8)
        self.observation_space = image if fault == "no dict" else spaces.Dict(observation=image)
        self.action_space = spaces.Box(-2.0 if fault == "range" else -1.0, 1.0, (2,), np.float32)
        if fault == "length":
            self.max_episode_steps = None
        self.image = np.zeros((3, size, size), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fault == "raises":
            raise KeyError("no such level")
        source = np.random.default_rng() if self.fault == "unseeded" else self.np_random
        self.place, self.steps = source.uniform(0, 200, 2), 0
        return self.seen(), {}

    def step(self, action):
        self.place = self.place + 5 * np.asarray(action, np.float64)
        self.steps += 1
        reward = float("nan") if self.fault == "reward" else 1.0
        info = {"physics": np.zeros(2 + self.steps % 2)} if self.fault == "physics" else {}
        return self.seen(), reward, False, False, info

    def seen(self):
        self.image[:2] = self.place.astype(np.uint8)[:, None, None]
        return {"observation": self.image if self.fault == "alias" else self.image.copy()}

    def render(self):
        picture = self.image.transpose(1, 2, 0).copy()
        return picture / 255.0 if self.fault == "picture" else picture


class Forgetful(ReplayedEnv):
    """Does not keep, or give back, what ``fault`` names."""

    def __init__(self, env, seed, fault):
        super().__init__(env, seed)
        self.fault = fault

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, int(truncated) if self.fault == "bool" else truncated, info

    def get_state(self):
        state = super().get_state()
        if self.fault == "forgets actions":
            state["actions"] = state["actions"][:0]
        if self.fault == "forgets episodes":
            state["episode"] = 0
        return state | ({"env": self} if self.fault == "not plain" else {})

    def set_state(self, state):
        seen = super().set_state(state)
        return None if self.fault == "gives nothing back" else seen


made: list[str] = []


def make(task, obs_type, action_repeat, seed, image_size, render_quality):
    """``task`` is the fault."""
    made.append(task)
    return Forgetful(Pixels(task, image_size), len(made) if task == "another seed" else seed, task)


def no_settings(task):
    return make(task, "pixels", 1, 0, 16, "full")


def no_env(task, **_):
    return {"task": task}


def fails(task, **_):
    raise OSError("level file is missing")


def bare(task, image_size, **_):
    """Without save and restore."""
    return Pixels("length", image_size)


NOT_CALLABLE = 3
