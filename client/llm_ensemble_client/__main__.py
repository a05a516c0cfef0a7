# SPDX-License-Identifier: Apache-2.0
"""Run the command line: python -m llm_ensemble_client."""

import sys

from llm_ensemble_client.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
