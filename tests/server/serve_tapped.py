# SPDX-License-Identifier: Apache-2.0
"""`serve` with the tapped stages in TAP_FOLDER (tap.py) instead of the committed ones."""

import functools
import os
import sys
from pathlib import Path

from serving import serve, supervisor

if __name__ == "__main__":
    repository = Path(os.environ["TAP_FOLDER"]) / "models"
    supervisor.running = functools.partial(supervisor.running, repository=repository)
    sys.exit(serve.main())
