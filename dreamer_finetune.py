"""Fine-tune a pre-trained snapshot on a task (or learn from scratch: snapshot_ts=0).

python dreamer_finetune.py configs=dmc_pixels agent=deviation_dreamer task=walker_stand snapshot_ts=2000000 seed=1
python dreamer_finetune.py snapshot=pretrained_models/pixels/walker/dreamer/1/snapshot_100000.pt task=walker_run
python dreamer_finetune.py agent=dreamer task=walker_run snapshot_ts=0 preset=small
python dreamer_finetune.py resume=latest
"""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import hydra
from omegaconf import DictConfig

from entry.cli import cli, job_errors


@hydra.main(version_base="1.3", config_path="configs", config_name="finetune")
@job_errors
def main(config: DictConfig) -> float | None:
    from entry.start import start

    return start(config, "finetune")


if __name__ == "__main__":
    cli(main, "finetune")
