"""Frames per second that environments give, with random actions and with an agent's.

python benchmarks/collector.py num_envs=1,2,4 collect.workers=true,false render.quality=full,lite

Own keys: ``num_envs``, ``collect.workers``, ``render.quality`` (one value, or several with commas: a row for each
combination), ``steps`` (of a row, over all its environments), ``act=false`` (random actions only), ``threads``,
``json=PATH``. Every other key is one of the configuration of ``dreamer_pretrain.py``, such as ``task=quadruped_run``
(``walker_run`` if not given), ``device=cuda``, ``preset=small``.

The work is in ``benchmarks/stepping.py``: worker processes import this file, and shall not load torch for it.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from utils.process import begin

    begin()
    from benchmarks.stepping import main

    sys.exit(main(sys.argv[1:]))
