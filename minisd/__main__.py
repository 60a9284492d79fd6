"""``python -m minisd`` is the ``minisd`` command."""

import sys

from minisd.cli import main

sys.exit(main())
