"""``python -m bids_brnn``: the BIDS App."""

import sys

from bids_brnn.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
