"""A tiny environment that misbehaves on request, for tests of what happens around worker processes."""

import os
import signal
import sys
import time

import gymnasium
import numpy as np

from envs.workers import WorkerVectorEnv

LOOKED_AT = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS")


class Odd(gymnasium.Env):
    """Counts its steps; ``fault`` says what the third one (or the making) does instead."""

    metadata = {"render_modes": []}
    render_mode = None

    def __init__(self, fault=""):
        self.observation_space = gymnasium.spaces.Dict(observation=gymnasium.spaces.Box(0, 1000, (1,), np.float32))
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.fault, self.steps, self.state = fault, 0, 0
        if fault == "unmade" and os.environ.get("ODD_PARENT") != str(os.getpid()):
            raise ValueError("no such model")

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        if self.fault == "hangs in reset":
            time.sleep(1000)
        return self._seen(), {}

    def step(self, action):
        self.steps += 1
        if self.fault == "prints":
            print("a step\n" * 10_000, flush=True)
        if self.steps == 3:
            if self.fault == "hangs":
                time.sleep(1000)
            elif self.fault == "is slow":
                for _ in range(15):  # goes on after a suspension, where one long sleep would be over
                    time.sleep(0.1)
            elif self.fault == "exits":
                os._exit(3)
            elif self.fault == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.fault == "raises":
                raise ValueError("the action holds NaN.")
        return self._seen(), float(self.steps), False, False, {}

    def look(self):
        return {
            "torch": "torch" in sys.modules,
            "pid": os.getpid(),
            **{name: os.environ.get(name) for name in LOOKED_AT},
        }

    def _seen(self):
        return {"observation": np.array([self.steps], np.float32)}


class Maker:
    """Pickles, unlike a lambda."""

    def __init__(self, fault=""):
        self.fault = fault

    def __call__(self):
        return Odd(self.fault)


def odd(*faults, timeout=60.0):
    """One environment per fault, in workers; the empty fault is none."""
    return WorkerVectorEnv([Maker(fault) for fault in faults], timeout)


if __name__ == "__main__":  # a program that prints its workers' process ids, and then waits, steps, or just ends
    venv = odd("", "is slow" if sys.argv[1] == "step" else "hangs", timeout=3.0)
    pids = [told["pid"] for told in venv.call("look")]
    venv.reset()
    for _ in range(2):
        venv.step(np.zeros((2, 1), np.float32))
    venv.step_async(np.zeros((2, 1), np.float32))
    print(*pids, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(1000)
    elif sys.argv[1] == "step":
        print(*venv.step_wait()[1])
        venv.close()
