"""The old name of ``python -m analysis.planner_probe``."""

from utils.moved import run_moved

if __name__ == "__main__":
    run_moved("analysis.planner_probe")
