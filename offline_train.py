"""Learn from data that others have collected, with updates alone, and keep snapshots to fine-tune.

python offline_train.py configs=dmc_states agent=choreo dataset=exorl collection_method=rnd domain=walker seed=1
python offline_train.py agent=dreamer collection_method=rnd domain=walker relabel_task=walker_run preset=small
python offline_train.py agent=choreo domain=walker dataset_dir=/data/walker/rnd/buffer preset=debug
python offline_train.py resume=latest
"""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import hydra
from omegaconf import DictConfig

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path="configs", config_name="offline_train")
@job_errors
def main(config: DictConfig) -> float | None:
    from entry.start import start

    return start(config, "offline_train")


if __name__ == "__main__":
    cli(main, "offline_train")
