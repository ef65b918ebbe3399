"""``python -m bids_brnn``: the BIDS App."""

import sys

from bids_brnn.cli.supervisor import command

if __name__ == "__main__":
    sys.exit(command())
