"""``python -m ui`` is the same as ``icctwin``."""

import sys

from ui.cli import main

sys.exit(main())
