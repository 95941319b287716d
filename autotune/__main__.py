"""`python -m autotune`: the same as the command `autotune`."""

import sys

from autotune.cli import main

sys.exit(main())
