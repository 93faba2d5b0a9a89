"""``python -m ui`` is the same as ``icctwin``."""

import sys

from ui.cli import main

if __name__ == "__main__":  # a child process that is spawned reads this file too
    sys.exit(main())
