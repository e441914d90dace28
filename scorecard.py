"""What many runs score together, beside an expert and each other: see ``python scorecard.py --help``."""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import sys

from analysis.scorecard import main

if __name__ == "__main__":
    sys.exit(main())
