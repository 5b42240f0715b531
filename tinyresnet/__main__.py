"""`python -m tinyresnet` is the command `tinyresnet`."""

import sys

from .cli import main

sys.exit(main())
