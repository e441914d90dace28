"""Train skills that take turns: ReST, and DIAYN, task reward or nothing on the same policies and environments.

python rest_train.py env=HalfCheetah expname=halfcheetah epochs=50 num_skills=10
python rest_train.py preset=small env=HalfCheetah num_skills=5 epochs=4
python rest_train.py preset=small env=DoorMaze method=diayn
python rest_train.py resume=latest
"""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import hydra
from omegaconf import DictConfig

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path="configs/rest", config_name="rest")
@job_errors
def main(config: DictConfig) -> float | None:
    from entry.start import start

    return start(config, "rest")


if __name__ == "__main__":
    cli(main, "rest")
