"""Can this machine run that command? Checks everything a run needs and names the fix of what is missing.

python doctor.py configs=dmc_pixels agent=deviation_dreamer domain=walker
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  the imports below would end in a SyntaxError there
    sys.exit(f"error: Python {sys.version.split()[0]} is too old. Make the environment with Python 3.11: make setup")

from doctoring.examination import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
