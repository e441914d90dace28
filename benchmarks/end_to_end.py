"""Frames per second of a whole pre-training run, and what they are spent on.

python benchmarks/end_to_end.py preset=small num_envs=4 collect.async=true baseline=true

Own keys: ``frames`` (timed ones), ``baseline=true`` (a row more: one environment, synchronous, nothing compiled),
``folder`` (where the run lies meanwhile; null: the system's temporary folder), ``threads``, ``json=PATH``. Every other
key is one of the configuration of ``dreamer_pretrain.py``.

The work is in ``benchmarks/whole_run.py``: worker processes import this file, and shall not load torch for it.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from utils.process import begin

    begin()
    from benchmarks.whole_run import main

    sys.exit(main(sys.argv[1:]))
