"""``python -m facemask_zoo`` is the command ``facemask-zoo``."""

import sys

from facemask_zoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
