# SPDX-License-Identifier: Apache-2.0
"""python -m serving.preflight --engine-dir engines/opt-125m"""

import sys

from serving.preflight.checks import main

sys.exit(main())
