"""AIZOO's command line for Paddle; see ``--help``."""

import sys

from facemask_zoo.scripts import main

if __name__ == "__main__":
    sys.exit(main("paddle"))
