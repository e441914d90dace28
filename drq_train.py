"""Train DrQ, or DrQ with DIAYN skills, on any task of the suite.

python drq_train.py task=cartpole_swingup num_skills=0 action_repeat=8 batch_size=512 num_train_steps=100000
python drq_train.py task=walker_run num_skills=10 num_train_steps=1000000 lr=3e-4 action_repeat=2
python drq_train.py resume=latest
"""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import hydra
from omegaconf import DictConfig

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path="configs/drq", config_name="drq")
@job_errors
def main(config: DictConfig) -> float | None:
    from entry.start import start

    return start(config, "drq")


if __name__ == "__main__":
    cli(main, "drq")
