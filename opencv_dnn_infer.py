"""AIZOO's command line for OpenCV-DNN; see ``--help``."""

import sys

from facemask_zoo.scripts import main

if __name__ == "__main__":
    sys.exit(main("opencv"))
