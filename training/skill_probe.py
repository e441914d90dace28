"""The old name of ``python -m analysis.skill_probe``."""

from utils.moved import run_moved

if __name__ == "__main__":
    run_moved("analysis.skill_probe")
