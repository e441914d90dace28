"""What a snapshot gets on a task, episode by episode and skill by skill: see ``python evaluate.py --help``."""

if __name__ == "__main__":  # before the imports below: they take seconds, in which a signal or a dead console may come
    from utils.process import begin

    begin()

import sys

from analysis.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
