"""Pre-train an agent without task reward and keep snapshots.

python dreamer_pretrain.py configs=dmc_pixels agent=deviation_dreamer domain=walker seed=1
python dreamer_pretrain.py agent=deviation_dreamer domain=walker preset=debug num_train_frames=2010
python dreamer_pretrain.py resume=latest
"""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import hydra
from omegaconf import DictConfig

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path="configs", config_name="pretrain")
@job_errors
def main(config: DictConfig) -> float | None:
    from entry.start import start

    return start(config, "pretrain")


if __name__ == "__main__":
    cli(main, "pretrain")
