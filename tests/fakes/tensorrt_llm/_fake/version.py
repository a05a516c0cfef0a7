# SPDX-License-Identifier: Apache-2.0
"""The release that the fake stands for: FAKE_TRTLLM_VERSION at import, 1.2.1 by default.

Another release differs from 1.2.1 only as ../../README.md lists.
"""

import os

VERSION = os.environ.get("FAKE_TRTLLM_VERSION", "1.2.1")
NEWER = not VERSION.startswith("1.2.")  # 1.3 and 1.4 pre-releases
