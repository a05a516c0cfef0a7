# SPDX-License-Identifier: Apache-2.0
"""`serve`, with the tapped steps that lie in TAP_FOLDER (tap.py) in place of the committed ones."""

import functools
import os
import sys
from pathlib import Path

from build_scripts import serve

if __name__ == "__main__":
    serve.running = functools.partial(serve.running, repository=Path(os.environ["TAP_FOLDER"]) / "models")
    sys.exit(serve.main())
