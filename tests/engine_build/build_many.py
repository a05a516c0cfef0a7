# SPDX-License-Identifier: Apache-2.0
"""Several builds in one process, through the function that `make build` calls; runs in the build environment.

    python build_many.py CHECKPOINTS ENGINES FAMILY:PRECISION ...

Each ends in ENGINES/FAMILY-PRECISION, or, where it is refused, in ENGINES/FAMILY-PRECISION.txt. Importing
torch and its company once instead of a dozen times saves a minute.
"""

import sys
from pathlib import Path

from build_scripts.build import build
from build_scripts.errors import BuildError
from build_scripts.options import BuildOptions
from build_scripts.progress import Progress

if __name__ == "__main__":
    checkpoints, engines = Path(sys.argv[1]), Path(sys.argv[2])
    for job in sys.argv[3:]:
        family, precision = job.split(":")
        engine = engines / f"{family}-{precision}"
        progress = Progress(total=5)
        try:
            build(BuildOptions(str(checkpoints / family), engine, precision, 128), progress)
        except BuildError as error:
            engine.with_suffix(".txt").write_text(str(error))
        progress.drop_log()
