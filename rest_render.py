"""Show what the skills of rest_train.py do: see ``python rest_render.py --help``."""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import sys

from analysis.rest_render import main

if __name__ == "__main__":
    sys.exit(main())
