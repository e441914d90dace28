"""Settings of small runs that whole-run tests share."""

from utils.config import CONFIGS

DEBUG = ("preset=debug", "device=cpu", "progress=false")

SHORT = (*DEBUG, "action_repeat=10")
"""Episodes of 100 steps: as many updates, a fifth of the environment's steps and pictures."""

BLIND = ("evaluate=false", "save_video=false", "recon_every_frames=1000000")
"""Nobody looks at the run."""

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))
"""All of Dreamer's."""
