"""`python -m mfsearch` is the command line."""

import sys

from mfsearch.cli import main

sys.exit(main())
