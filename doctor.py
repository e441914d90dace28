"""Can this machine run that command? Checks everything a run needs and names the fix of what is missing.

python doctor.py configs=dmc_pixels agent=deviation_dreamer domain=walker
python doctor.py drq_train.py task=walker_run num_skills=10

It takes what the scripts take, their name in front where the settings alone do not tell which one is meant, and starts
nothing. It exits with 1 when something is missing, else with 0.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  the imports below would end in a SyntaxError there
    sys.exit(f"error: Python {sys.version.split()[0]} is too old. Make the environment with Python 3.11: make setup")

if __name__ == "__main__":
    from utils.process import begin

    begin()

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:]):
    print(__doc__)
    sys.exit()

try:
    from doctoring.examination import main
except ModuleNotFoundError as missing:  # of the libraries, the table itself needs no other
    if missing.name != "packaging":
        raise
    sys.exit("error: the package packaging is missing. Install the requirements first: make setup")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
